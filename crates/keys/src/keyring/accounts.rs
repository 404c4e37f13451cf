//! Public keys inside a BIP32 tree, as the ledger knows them.
//!
//! Hardened derivation needs the private part, so only the provider can say which key a path leads to. It is asked
//! once per path, must prove that it signs for what it says, and what it said is recorded. From then on the ledger
//! says which key a signature must verify against, and the provider can no longer change its mind.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use anya_primitives::{KeyId, TenantId};
use anya_provider::{Error as Fault, PublicMaterial};
use bitcoin::{
    NetworkKind,
    bip32::{ChildNumber, DerivationPath, Fingerprint, Xpub},
};

use super::{Keyring, wrong};
use crate::{
    error::{Error, Result},
    row::{self, KeyRow},
};

/// The deepest path that is derived. The deepest in use (BIP48) has six steps.
const MAX_DEPTH: usize = 16;
/// Accounts remembered in memory; the ledger has the rest.
const CACHED: usize = 4096;

/// The extended public key of an account, with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountKey {
    /// The root's fingerprint, as descriptors name it.
    pub fingerprint: Fingerprint,
    /// From the root to the account.
    pub path: DerivationPath,
    /// The extended public key. Its prefix follows the path's coin type (BIP44): `tpub` under `1'`, else `xpub`.
    pub xpub: Xpub,
}

/// Recorded accounts. A record never changes, so an entry is never out of date.
#[derive(Default)]
pub(super) struct AccountCache(Mutex<HashMap<(TenantId, KeyId, DerivationPath), Xpub>>);

impl AccountCache {
    fn get(&self, tenant: TenantId, key: KeyId, path: &DerivationPath) -> Option<Xpub> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(&(tenant, key, path.clone())).copied()
    }

    fn put(&self, tenant: TenantId, key: KeyId, path: DerivationPath, xpub: Xpub) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED {
            cache.clear();
        }
        cache.insert((tenant, key, path), xpub);
    }
}

fn network(path: &DerivationPath) -> NetworkKind {
    match path.as_ref().get(1) {
        Some(ChildNumber::Hardened { index: 1 }) => NetworkKind::Test,
        _ => NetworkKind::Main,
    }
}

/// The path up to its last hardened step, and the rest, which anyone can derive.
fn split(path: &DerivationPath) -> (DerivationPath, DerivationPath) {
    let steps: &[ChildNumber] = path.as_ref();
    let at = steps.iter().rposition(ChildNumber::is_hardened).map_or(0, |last| last + 1);
    let (hardened, open) = steps.split_at(at);
    (hardened.into(), open.into())
}

impl Keyring {
    /// The extended public key at `path` of a BIP32 key. It is recorded in the ledger before it is returned; a
    /// path once recorded is answered without the provider.
    pub async fn account_xpub(
        &self,
        tenant: TenantId,
        key: KeyId,
        path: &DerivationPath,
    ) -> Result<AccountKey> {
        let row = self.row(tenant, key).await?;
        let PublicMaterial::Bip32 { fingerprint, .. } = row.info.public else {
            let act = "have accounts: only bip32 keys do";
            return Err(Fault::WrongSpec { spec: row.info.spec, act }.into());
        };
        let mut xpub = self.public_at(tenant, &row, path).await?;
        xpub.network = network(path);
        Ok(AccountKey { fingerprint, path: path.clone(), xpub })
    }

    /// The public key at `path` that the ledger vouches for.
    pub(super) async fn public_at(
        &self,
        tenant: TenantId,
        row: &KeyRow,
        path: &DerivationPath,
    ) -> Result<Xpub> {
        if path.len() > MAX_DEPTH {
            return Err(Error::invalid("path", format!("at most {MAX_DEPTH} steps")));
        }
        let (hardened, open) = split(path);
        let account = self.account(tenant, row, hardened).await?;
        account
            .derive_pub(self.verifier.secp(), &open)
            .map_err(|_| Error::invalid("path", "it leads to no key: use the next index"))
    }

    async fn account(&self, tenant: TenantId, row: &KeyRow, path: DerivationPath) -> Result<Xpub> {
        let info = &row.info;
        if path.is_empty() {
            return match info.public {
                PublicMaterial::Bip32 { xpub, .. } => Ok(xpub),
                _ => {
                    let act = "derive keys: only bip32 keys do";
                    Err(Fault::WrongSpec { spec: info.spec, act }.into())
                }
            };
        }
        if let Some(xpub) = self.accounts.get(tenant, info.id, &path) {
            return Ok(xpub);
        }
        let (key, text) = (info.id, path.to_string());
        let known = {
            let text = text.clone();
            self.ledger.read(tenant, move |tx| row::account(tx, key, &text)).await?
        };
        let recorded = match known {
            Some(recorded) => recorded,
            None => {
                let xpub = self.ask_account(tenant, row, &path).await?.to_string();
                let now = self.clock.now();
                self.ledger
                    .write(tenant, move |tx| {
                        row::add_account(tx, key, &text, &xpub, now)?;
                        row::account(tx, key, &text)?.ok_or(Error::internal("an account was not recorded"))
                    })
                    .await?
            }
        };
        let xpub = recorded.parse().map_err(|_| Error::internal("a recorded account is damaged"))?;
        self.accounts.put(tenant, info.id, path, xpub);
        Ok(xpub)
    }

    /// Has a provider derive, and prove that it signs for what it derived. Another provider that holds the key must
    /// then sign for it, too, whenever it is asked to.
    async fn ask_account(&self, tenant: TenantId, row: &KeyRow, path: &DerivationPath) -> Result<Xpub> {
        let info = &row.info;
        if !info.state.protects() {
            return Err(Error::State { key: info.id, state: info.state, act: "derive a new account" });
        }
        let PublicMaterial::Bip32 { fingerprint, .. } = info.public else {
            return Err(Error::internal("a bip32 key's record has a public part of another sort"));
        };
        let ctx = self.context(tenant, info, self.deadlines.sign);
        let (xpub, provider) = self
            .on_any(row, &ctx, |provider, ctx, handle| {
                Box::pin(async move {
                    let derived = provider.derive_public(&ctx, &handle, path).await?;
                    let last = path.as_ref().last().copied();
                    if derived.root != fingerprint
                        || usize::from(derived.xpub.depth) != path.len()
                        || Some(derived.xpub.child_number) != last
                    {
                        return Err(wrong(
                            provider.id(),
                            "an extended public key of another place in the tree",
                        ));
                    }
                    Ok((derived.xpub, provider.id().to_owned()))
                })
            })
            .await?;
        let member = self.member(&provider)?;
        let handle = row.handle(&provider).ok_or(Error::internal("a provider without its handle"))?;
        self.prove_point(&member, &ctx, handle, Some(path.clone()), xpub.public_key).await?;
        Ok(xpub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_splits_after_its_last_hardened_step() {
        for (path, hardened, open) in [
            ("m/84'/0'/0'/1/7", "84'/0'/0'", "1/7"),
            ("m", "", ""),
            ("m/0/1", "", "0/1"),
            ("m/0/1'", "0/1'", ""),
        ] {
            let (left, right) = split(&path.parse().unwrap());
            assert_eq!((left.to_string().as_str(), right.to_string().as_str()), (hardened, open), "{path}");
        }
    }
}
