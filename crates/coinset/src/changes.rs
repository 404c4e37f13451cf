//! The rows from which a set is made again.

use bitcoin::Script;

use crate::{
    coins::Coins,
    error::{Error, Result},
    node::{Node, Status},
    record::{Position, Record},
    scripts::ScriptSource,
    set::CoinSet,
    types::{Keychain, Spot},
};

/// A run of scripts of one keychain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptRow {
    /// The keychain.
    pub keychain: Keychain,
    /// The index of the first.
    pub first: u32,
    /// Each script after its length in two bytes, little endian.
    pub scripts: Vec<u8>,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxRow {
    /// Its place: rows are numbered in the order in which transactions became known.
    pub seq: u32,
    /// The transaction; none where only its position changed.
    pub record: Option<Record>,
    /// Where it was seen.
    pub position: Position,
}

/// What changed since changes were taken last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New scripts.
    pub scripts: Vec<ScriptRow>,
    /// The last index shown, of keychains where it rose.
    pub revealed: Vec<Spot>,
    /// Transactions that are new or changed.
    pub transactions: Vec<TxRow>,
    /// Rows to be removed: each of these transactions has another row now.
    pub removed: Vec<u32>,
}

impl Changes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
            && self.revealed.is_empty()
            && self.transactions.is_empty()
            && self.removed.is_empty()
    }
}

/// All that is stored of a wallet.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Scripts, by rising index for each keychain.
    pub scripts: Vec<ScriptRow>,
    /// The last index shown of each keychain.
    pub revealed: Vec<Spot>,
    /// Transactions by rising number.
    pub transactions: Vec<(u32, Record, Position)>,
}

impl CoinSet {
    /// What is to be written since this was asked last. Whoever does not write it must not use the set any further.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = Changes { removed: std::mem::take(&mut self.moved), ..Changes::default() };
        let written = self.written_scripts.iter_mut().zip(&mut self.written_revealed);
        for (keychain, (scripts, revealed)) in Keychain::ALL.into_iter().zip(written) {
            let known = self.scripts.known(keychain);
            if known > *scripts {
                let run = (*scripts..known).filter_map(|index| self.scripts.script(Spot { keychain, index }));
                changes.scripts.push(ScriptRow { keychain, first: *scripts, scripts: packed(run) });
                *scripts = known;
            }
            let shown = self.scripts.revealed(keychain);
            if shown > *revealed {
                changes.revealed.extend(shown.map(|index| Spot { keychain, index }));
                *revealed = shown;
            }
        }
        for (number, whole) in std::mem::take(&mut self.unwritten) {
            if let Some(node) = self.graph.node(number) {
                let record = whole.then(|| node.record.clone());
                changes.transactions.push(TxRow { seq: node.seq, record, position: self.position(node) });
            }
        }
        changes
    }

    fn position(&self, node: &Node) -> Position {
        Position { first_seen: node.first_seen, seen: node.seen, block: self.block_of(node) }
    }

    /// The set that was written.
    ///
    /// # Errors
    /// [`Error::Damaged`] where rows are missing or do not fit together; [`Error::Underivable`].
    pub fn load(stored: Stored, source: &dyn ScriptSource) -> Result<Self> {
        let mut set = Self::default();
        set.load_scripts(&stored.scripts)?;
        set.graph.reserve(stored.transactions.len());
        for (seq, record, position) in stored.transactions {
            set.load_transaction(seq, record, position)?;
        }
        for spot in stored.revealed {
            set.scripts.reveal(spot);
            set.note_written(spot);
        }
        set.scripts.extend(source)?;
        set.judge_all();
        Ok(set)
    }

    fn note_written(&mut self, spot: Spot) {
        let [receive, change] = &mut self.written_revealed;
        let written = match spot.keychain {
            Keychain::Receive => receive,
            Keychain::Change => change,
        };
        *written = Some(spot.index).max(*written);
    }

    fn load_scripts(&mut self, rows: &[ScriptRow]) -> Result<()> {
        let bytes: usize = rows.iter().map(|row| row.scripts.len()).sum();
        self.scripts.reserve(bytes / 24);
        for row in rows {
            if row.first != self.scripts.known(row.keychain) {
                return Err(Error::Damaged("scripts are missing"));
            }
            let mut rest = row.scripts.as_slice();
            while !rest.is_empty() {
                let damaged = Error::Damaged("a run of scripts cannot be read");
                let (length, after) = rest.split_first_chunk::<2>().ok_or(damaged.clone())?;
                let length = usize::from(u16::from_le_bytes(*length));
                let (script, after) = after.split_at_checked(length).ok_or(damaged)?;
                self.scripts.push(row.keychain, Script::from_bytes(script));
                rest = after;
            }
        }
        self.written_scripts = Keychain::ALL.map(|keychain| self.scripts.known(keychain));
        Ok(())
    }

    fn load_transaction(&mut self, seq: u32, record: Record, position: Position) -> Result<()> {
        if self.graph.number(record.txid()).is_some() || seq < self.next_seq {
            return Err(Error::Damaged("a transaction is stored twice, or out of order"));
        }
        self.next_seq = seq.checked_add(1).ok_or(Error::Full)?;
        let txid = record.txid();
        let (mut sent, mut own_inputs) = (0u64, 0u32);
        for outpoint in record.inputs() {
            if let Some(spent) = self.graph.owned(outpoint) {
                sent = sent.saturating_add(spent.value);
                own_inputs += 1;
            }
        }
        let received = record.owned().fold(0u64, |sum, output| sum.saturating_add(output.value));
        let owned: Vec<_> = record.owned().collect();
        let number = self.graph.push(Node {
            record,
            seq,
            received,
            sent,
            own_inputs,
            first_seen: position.first_seen,
            seen: position.seen,
            height: None,
            status: Status::Absent,
            rank: None,
        });
        self.by_seq.insert(seq, number);
        for output in owned {
            if output.spot.index >= self.scripts.known(output.spot.keychain) {
                return Err(Error::Damaged("a coin's script is missing"));
            }
            self.scripts.paid(output.spot, number);
            // What spends it may have become known before it.
            self.graph.adopt(bitcoin::OutPoint::new(txid, output.vout), output.value);
        }
        if let Some(at) = position.block {
            if self.graph.blocks.get(&at.height).is_some_and(|held| held.hash != at.hash) {
                return Err(Error::Damaged("two blocks have one height"));
            }
            self.graph.enter_block(number, at.height, at.hash);
        }
        Ok(())
    }

    fn judge_all(&mut self) {
        let mut open = std::collections::HashSet::new();
        for (number, node) in (0u32..).zip(&mut self.graph.nodes) {
            match node.height {
                Some(height) => node.status = Status::Confirmed { height },
                None => drop(open.insert(number)),
            }
        }
        crate::canon::judge(&mut self.graph, &open);
        for number in (0u32..).take(self.graph.nodes.len()) {
            self.relist(number);
        }
        self.coins = Coins::all(&self.graph);
    }
}

fn packed<'a>(scripts: impl Iterator<Item = &'a Script>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for script in scripts {
        // No script is longer than two bytes can say: see `Scripts::extend`.
        bytes.extend(script.len().to_le_bytes().into_iter().take(2));
        bytes.extend(script.as_bytes());
    }
    bytes
}
