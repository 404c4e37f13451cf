//! Renewal of the key under which a provider seals what it keeps outside itself.
//!
//! Three steps, each of which can be repeated: a new generation is made; every handle is sealed under it, and proved
//! before it takes the old one's place; the old generation is erased once no handle needs it.

use std::time::Instant;

use anya_primitives::{KeyId, TenantId};
use anya_provider::{Error as Fault, KekStatus, Rewrapped};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Keyring, context, within};
use crate::{
    error::{Error, Result},
    row,
    state::KeyState,
};

/// Handles read from the ledger at once.
const PAGE: u32 = 200;

/// How far a rewrapping came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewrapReport {
    /// Handles looked at.
    pub seen: u64,
    /// Handles that were sealed anew, proved, and stored.
    pub rewrapped: u64,
    /// Handles that were under the newest generation already.
    pub current: u64,
    /// Handles that could not be sealed anew; the log says why. They stay as they are.
    pub failed: u64,
}

impl Keyring {
    /// The generations of a provider's sealing key.
    pub async fn kek_status(&self, provider: &str) -> Result<KekStatus> {
        let member = self.member(provider)?;
        let wait = self.deadlines.generate;
        Ok(within(member.id(), wait, member.provider.kek_status(Instant::now() + wait)).await?)
    }

    /// Makes a new generation of a provider's sealing key. Handles are sealed under it by [`Keyring::rewrap`].
    pub async fn rotate_kek(&self, provider: &str, passphrase: Option<SecretString>) -> Result<KekStatus> {
        let member = self.member(provider)?;
        let wait = self.deadlines.generate;
        Ok(within(member.id(), wait, member.provider.rotate_kek(passphrase, Instant::now() + wait)).await?)
    }

    /// Seals every handle of a provider under the newest generation. What was interrupted is taken up by calling again.
    /// `progress` is called after each page.
    pub async fn rewrap(
        &self,
        provider: &str,
        mut progress: impl FnMut(&RewrapReport) + Send,
    ) -> Result<RewrapReport> {
        let member = self.member(provider)?;
        let mut report = RewrapReport::default();
        let mut after: Option<(TenantId, KeyId)> = None;
        loop {
            let name = provider.to_owned();
            let page = self.ledger.read_system(move |tx| row::held_by(tx, &name, after, PAGE)).await?;
            let Some(last) = page.last() else { return Ok(report) };
            after = Some((last.tenant, last.key));
            for held in page {
                report.seen += 1;
                match self.rewrap_one(&member, &held).await {
                    Ok(true) => report.rewrapped += 1,
                    Ok(false) => report.current += 1,
                    Err(error @ Error::Provider(Fault::Unsupported { .. })) => return Err(error),
                    Err(error) => {
                        report.failed += 1;
                        tracing::error!(provider, key = %held.key, %error, "a handle was not sealed anew");
                    }
                }
            }
            progress(&report);
        }
    }

    async fn rewrap_one(
        &self,
        member: &std::sync::Arc<crate::pool::member::Member>,
        held: &row::Held,
    ) -> Result<bool> {
        let wait = self.deadlines.generate;
        let ctx = context(held.tenant, held.key, held.version, held.spec, wait);
        let new = match within(member.id(), wait, member.provider.rewrap(&ctx, &held.handle)).await? {
            Rewrapped::Current => return Ok(false),
            Rewrapped::Handle(new) => new,
        };
        // A destroyed key's handle is only waiting to be erased; it must not be used any more, not even for a proof.
        if held.state != KeyState::Destroyed {
            let info = self.get(held.tenant, held.key).await?;
            self.prove(member, &ctx, &new, &info.public).await?;
        }
        let (key, name, seen) = (held.key, member.id().to_owned(), held.handle.clone());
        let swapped =
            self.ledger.write(held.tenant, move |tx| row::swap_handle(tx, key, &name, &seen, &new)).await?;
        self.rows.invalidate(&(held.tenant, held.key));
        match swapped {
            true => Ok(true),
            // Erased, or sealed anew by another: whichever it is, the next run sees.
            false => Err(Error::internal("the handle changed while it was sealed anew")),
        }
    }

    /// Erases an old generation of a provider's sealing key, after making sure that no handle needs it.
    ///
    /// # Errors
    /// [`Error::KekInUse`] when handles are left that could not be sealed anew.
    pub async fn retire_kek(
        &self,
        provider: &str,
        generation: u32,
        passphrase: Option<SecretString>,
    ) -> Result<KekStatus> {
        let member = self.member(provider)?;
        let report = self.rewrap(provider, |_| ()).await?;
        if report.failed > 0 {
            let provider = provider.to_owned();
            return Err(Error::KekInUse { provider, generation, handles: report.failed });
        }
        let wait = self.deadlines.generate;
        let retire = member.provider.retire_kek(generation, passphrase, Instant::now() + wait);
        let status = within(member.id(), wait, retire).await?;
        // Old handles also stand in the write-ahead log.
        self.ledger.fold().await?;
        Ok(status)
    }
}
