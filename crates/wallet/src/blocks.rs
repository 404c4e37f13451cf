//! The best chain as far as it was followed, shared by all wallets.

use std::collections::BTreeMap;

use anya_chain::BlockRef;
use anya_store::{SystemTx, params};
use bitcoin::BlockHash;

use crate::error::{Error, Result};

/// How many of the newest blocks are remembered without gaps: the deepest reorganisation that can be followed.
pub(crate) const REMEMBERED: usize = 2016;
/// How many of them are told to the follower at once.
const TOLD: usize = 150;

/// Block hashes by height. Old blocks are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    hashes: BTreeMap<u32, BlockHash>,
    /// Blocks that are not in the ledger yet. None of them holds anything; after a crash they are fetched again.
    unwritten: Vec<BlockRef>,
}

impl Blocks {
    pub(crate) fn load(tx: &SystemTx<'_>) -> Result<Self> {
        let rows = tx.query("SELECT height, hash FROM wallet_blocks", &[], |row| {
            let hash: String = row.get("hash")?;
            let hash: BlockHash =
                hash.parse().map_err(|_| Error::internal("a stored block hash is damaged"))?;
            Ok::<_, Error>((row.get::<u32>("height")?, hash))
        })?;
        Ok(Self { hashes: rows.into_iter().collect(), unwritten: Vec::new() })
    }

    /// Takes the ledger's word for everything.
    pub(crate) fn replace(&mut self, stored: Self) {
        *self = stored;
    }

    pub(crate) fn tip(&self) -> Option<BlockRef> {
        self.hashes.last_key_value().map(|(height, hash)| BlockRef { height: *height, hash: *hash })
    }

    pub(crate) fn height(&self) -> u32 {
        self.tip().map_or(0, |tip| tip.height)
    }

    pub(crate) fn contains(&self, at: BlockRef) -> bool {
        self.hashes.get(&at.height) == Some(&at.hash)
    }

    /// The newest blocks without gaps, newest first.
    pub(crate) fn newest(&self) -> Vec<BlockRef> {
        let mut newest: Vec<BlockRef> = Vec::new();
        for (height, hash) in self.hashes.iter().rev().take(TOLD) {
            if newest.last().is_some_and(|later| later.height != height + 1) {
                break;
            }
            newest.push(BlockRef { height: *height, hash: *hash });
        }
        newest
    }

    pub(crate) fn unwritten(&self) -> &[BlockRef] {
        &self.unwritten
    }

    /// Takes a block that holds nothing and is written later.
    pub(crate) fn push_unwritten(&mut self, at: BlockRef) {
        self.hashes.insert(at.height, at.hash);
        self.unwritten.push(at);
        self.forget_old();
    }

    /// Takes a block that was written, and with it all that came before.
    pub(crate) fn push_written(&mut self, at: BlockRef) {
        self.hashes.insert(at.height, at.hash);
        self.unwritten.clear();
        self.forget_old();
    }

    pub(crate) fn written(&mut self) {
        self.unwritten.clear();
    }

    /// Takes back the newest block, which the ledger has already forgotten.
    pub(crate) fn pop(&mut self, at: BlockRef) {
        self.hashes.remove(&at.height);
        self.unwritten.retain(|block| *block != at);
    }

    /// Blocks come one at a time, so that at most one becomes too old.
    fn forget_old(&mut self) {
        let Some(old) = u32::try_from(REMEMBERED).ok().and_then(|depth| self.height().checked_sub(depth))
        else {
            return;
        };
        self.hashes.remove(&old);
    }

    /// What the ledger may forget once the tip is at `height`.
    pub(crate) fn forget_rows(tx: &SystemTx<'_>, height: u32) -> Result<()> {
        let depth = u32::try_from(REMEMBERED).map_err(Error::internal)?;
        if let Some(oldest) = height.checked_sub(depth).map(|height| height + 1) {
            let sql = "DELETE FROM wallet_blocks WHERE height < :oldest";
            tx.execute(sql, &params! { "oldest" => oldest })?;
        }
        Ok(())
    }

    pub(crate) fn insert_row(tx: &SystemTx<'_>, at: BlockRef) -> Result<()> {
        tx.execute(
            "INSERT INTO wallet_blocks (height, hash) VALUES (:height, :hash)",
            &params! { "height" => at.height, "hash" => at.hash.to_string() },
        )?;
        Ok(())
    }

    pub(crate) fn delete_row(tx: &SystemTx<'_>, at: BlockRef) -> Result<()> {
        tx.execute(
            "DELETE FROM wallet_blocks WHERE height = :height AND hash = :hash",
            &params! { "height" => at.height, "hash" => at.hash.to_string() },
        )?;
        Ok(())
    }
}
