//! That a key is where it is said to be: shown by signing, or by the provider's evidence.

use anya_primitives::{KeyId, TenantId};
use anya_provider::Evidence;

use super::{Keyring, within};
use crate::{
    error::{Error, Result},
    key::KeyInfo,
    row,
    state::KeyState,
};

impl Keyring {
    /// Has every provider that holds the key sign a random challenge with it, and records who did. A provider that does
    /// not is named in the answer, and keeps the date of its last proof.
    pub async fn prove_replicas(
        &self,
        tenant: TenantId,
        key: KeyId,
    ) -> Result<(KeyInfo, Vec<(String, Error)>)> {
        let row = self.row(tenant, key).await?;
        let info = &row.info;
        if matches!(info.state, KeyState::Compromised | KeyState::Destroyed) {
            return Err(Error::State { key, state: info.state, act: "prove where it is" });
        }
        let mut failed = Vec::new();
        for (name, handle) in &row.handles {
            let proof = async {
                let member = self.member(name)?;
                let ctx = self.context(tenant, info, self.deadlines.sign);
                self.prove(&member, &ctx, handle, &info.public).await
            };
            match proof.await {
                Ok(()) => {
                    let (name, now) = (name.clone(), self.clock.now());
                    self.ledger.write(tenant, move |tx| row::proved(tx, key, &name, now)).await?;
                }
                Err(error) => failed.push((name.clone(), error)),
            }
        }
        self.rows.invalidate(&(tenant, key));
        Ok((self.get(tenant, key).await?, failed))
    }

    /// A provider's evidence of where the key lives, bound to `nonce` where its form of evidence can be. It proves
    /// nothing until it is verified against roots of trust that come from elsewhere.
    pub async fn attest(
        &self,
        tenant: TenantId,
        key: KeyId,
        provider: &str,
        nonce: &[u8; 32],
    ) -> Result<Evidence> {
        let row = self.row(tenant, key).await?;
        let handle = row
            .handle(provider)
            .ok_or_else(|| Error::invalid("provider", format!("`{provider}` does not hold this key")))?;
        let member = self.member(provider)?;
        let ctx = self.context(tenant, &row.info, self.deadlines.generate);
        let attest = member.provider.attest(&ctx, handle, nonce);
        Ok(within(provider, self.deadlines.generate, attest).await?)
    }
}
