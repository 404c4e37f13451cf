//! What an approved operation may have signed.
//!
//! The treasury grants in the transaction in which it moves an approved operation on to be signed: these digests, by
//! these keys, until then. A signature for an operation is refused by the keyring itself when no such grant is there,
//! so that a fault above it cannot have anything else signed.

use anya_primitives::{KeyId, OperationId, TenantId, Timestamp};
use anya_store::TenantTx;

use super::Keyring;
use crate::{
    error::{Error, Result},
    row,
    state::KeyState,
};

/// Bytes of a digest.
const DIGEST: usize = 32;

/// What an operation was granted of one key.
pub(super) struct Grant {
    digests: Vec<u8>,
    expires_at: Timestamp,
}

impl Grant {
    fn names(&self, digest: &[u8; DIGEST]) -> bool {
        let (digests, rest) = self.digests.as_chunks::<DIGEST>();
        rest.is_empty() && digests.binary_search(digest).is_ok()
    }
}

impl Keyring {
    /// Lets `operation` have these digests signed by `key` until `expires_at`, and counts one use of the key against its
    /// limit. What was granted to the operation before is replaced, and not counted again.
    ///
    /// # Errors
    /// [`Error::Limit`] when the key's limit is used up; [`Error::State`] when the key is not active.
    pub fn grant(
        tx: &TenantTx<'_>,
        operation: OperationId,
        key: KeyId,
        digests: &[[u8; DIGEST]],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        let info = row::get(tx, key)?.info;
        if info.state != KeyState::Active {
            return Err(Error::State { key, state: info.state, act: "sign for an operation" });
        }
        if row::granted(tx, operation, key)?.is_none() {
            count(tx, &info, 1, now)?;
        }
        let mut sorted = digests.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        row::grant(tx, operation, key, sorted.as_flattened(), expires_at)
    }

    /// Takes back what `operation` was granted: it has ended, or was signed in full.
    pub fn revoke(tx: &TenantTx<'_>, operation: OperationId) -> Result<()> {
        row::revoke(tx, operation)
    }

    pub(super) async fn granted(
        &self,
        tenant: TenantId,
        operation: OperationId,
        key: KeyId,
    ) -> Result<Grant> {
        let found = self.ledger.read(tenant, move |tx| row::granted(tx, operation, key)).await?;
        let refused = |reason| Error::NotGranted { key, operation, reason };
        let (digests, expires_at) = found.ok_or(refused("nothing was granted"))?;
        Ok(Grant { digests, expires_at })
    }

    pub(super) fn covered(
        &self,
        grant: &Grant,
        operation: OperationId,
        key: KeyId,
        digest: &[u8; DIGEST],
    ) -> Result<()> {
        let refused = |reason| Error::NotGranted { key, operation, reason };
        if grant.expires_at <= self.clock.now() {
            return Err(refused("its time is over"));
        }
        if !grant.names(digest) {
            return Err(refused("this digest is not among what was granted"));
        }
        Ok(())
    }
}

/// Counts `uses` of the key against its limit, in the transaction of what they are for.
pub(super) fn count(tx: &TenantTx<'_>, info: &crate::key::KeyInfo, uses: u32, now: Timestamp) -> Result<()> {
    let Some(limit) = info.usage.limit else { return Ok(()) };
    let counted = row::count_uses(tx, info.id, limit.window(now), uses)?;
    if counted > i64::from(limit.uses) {
        let wait_seconds = limit.rest(now).as_secs();
        return Err(Error::Limit { key: info.id, uses: limit.uses, wait_seconds });
    }
    Ok(())
}
