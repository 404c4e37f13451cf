//! Whose the keys of a wallet are. That a key is the keyring's is found by deriving it, never by trust in a text.

use anya_descriptor::{Origin, Rules, SignerKey};
use anya_keys::{Algorithm, KeyInfo, KeySpec, KeyState, PublicMaterial};
use anya_primitives::{KeyId, TenantId};
use bitcoin::{
    NetworkKind,
    bip32::{DerivationPath, Fingerprint},
};

use crate::{
    descriptor::Keys,
    error::{Error, Result},
    info::{HeldBy, KeyHolder, NewWallet, ScriptKind, Signer},
    origin::{multisig_path, parse_cosigner, single_path},
    wallets::Inner,
};

/// The most keys of a tenant that are looked at for those of a descriptor.
const MAX_KEYS: usize = 10_000;
/// So many keys are read at once.
const PAGE: u32 = 100;

impl Inner {
    /// The keys that a new wallet is made of.
    pub(crate) async fn prepare(&self, tenant: TenantId, new: &NewWallet) -> Result<(Keys, Vec<SignerKey>)> {
        new.check()?;
        let mut keys = Vec::new();
        match &new.script {
            ScriptKind::Wpkh { key, account } => {
                let path = single_path(84, self.network, *account)?;
                keys.push(self.account(tenant, *key, path, Algorithm::EcdsaSecp256k1).await?);
            }
            ScriptKind::Tr { key, account } => {
                let path = single_path(86, self.network, *account)?;
                keys.push(self.account(tenant, *key, path, Algorithm::SchnorrSecp256k1).await?);
            }
            ScriptKind::WshSortedMulti { cosigners, .. } => {
                for (index, cosigner) in cosigners.iter().enumerate() {
                    keys.push(match &cosigner.signer {
                        Signer::Active { key, account } | Signer::Reserve { key, account } => {
                            let field = format!("script.cosigners[{index}].signer");
                            let path = multisig_path(self.network, *account)?;
                            self.cosigner(tenant, *key, path, Algorithm::EcdsaSecp256k1, &field).await?
                        }
                        Signer::Outside { xpub } => {
                            let field = format!("script.cosigners[{index}].signer.xpub");
                            parse_cosigner(&field, xpub, self.network)?
                        }
                    });
                }
            }
            ScriptKind::Descriptor { signers, .. } => {
                for (at, signer) in signers.iter().enumerate() {
                    if let HeldBy::Active { key } | HeldBy::Reserve { key } = signer.held_by {
                        self.check_own(tenant, key, signer, &format!("script.signers[{at}]")).await?;
                    }
                    keys.push(signer.key.clone());
                }
            }
        }
        // What a cosigner typed is kept in one spelling, so that one wallet has one descriptor.
        let made = Keys::new(&new.script, keys.clone(), &Rules::new(self.network))?;
        if let ScriptKind::Descriptor { signers, .. } = &new.script {
            self.check_algorithms(tenant, &made, signers).await?;
            made.check_spendable()?;
        }
        Ok((made, keys))
    }

    /// A cosigner's key: an account of a root, or the one key that a device which derives none holds.
    pub(crate) async fn cosigner(
        &self,
        tenant: TenantId,
        key: KeyId,
        path: DerivationPath,
        algorithm: Algorithm,
        field: &str,
    ) -> Result<SignerKey> {
        let info = self.keyring.get(tenant, key).await?;
        let PublicMaterial::Secp256k1 { public_key } = info.public else {
            return self.account(tenant, key, path, algorithm).await;
        };
        if path.as_ref().get(2) != Some(&bitcoin::bip32::ChildNumber::Hardened { index: 0 }) {
            let reason = "a secp256k1 key has no accounts: leave it out, or name a bip32 key";
            return Err(Error::invalid(format!("{field}.account"), reason));
        }
        self.suits(&info, algorithm)?;
        Ok(SignerKey::Single { origin: None, key: bitcoin::PublicKey::new(public_key) })
    }

    async fn account(
        &self,
        tenant: TenantId,
        key: KeyId,
        path: DerivationPath,
        algorithm: Algorithm,
    ) -> Result<SignerKey> {
        let info = self.keyring.get(tenant, key).await?;
        // What is no root has no accounts, which is what the keyring says of it below.
        if info.spec == KeySpec::Bip32Seed {
            self.suits(&info, algorithm)?;
        }
        let account = self.keyring.account_xpub(tenant, key, &path).await?;
        let mut xpub = account.xpub;
        xpub.network = NetworkKind::from(bitcoin::Network::from(self.network));
        Ok(SignerKey::Account { origin: Some(Origin { fingerprint: account.fingerprint, path }), xpub })
    }

    /// The keys of the keyring that may be those of a descriptor.
    pub(crate) async fn own_keys(&self, tenant: TenantId) -> Result<Vec<KeyInfo>> {
        let mut found: Vec<KeyInfo> = Vec::new();
        let mut after = None;
        loop {
            let page = self.keyring.list(tenant, after, PAGE).await?;
            after = page.keys.last().map(|key| key.id);
            let full = page.keys.len() == usize::try_from(PAGE).map_err(Error::internal)?;
            found.extend(page.keys.into_iter().filter(|key| {
                let signs =
                    matches!(key.public, PublicMaterial::Bip32 { .. } | PublicMaterial::Secp256k1 { .. });
                signs && key.state != KeyState::Destroyed
            }));
            if found.len() > MAX_KEYS {
                let reason = format!(
                    "the tenant has more than {MAX_KEYS} keys to be compared with: say whose each key is"
                );
                return Err(Error::invalid("script.signers", reason));
            }
            if !full {
                return Ok(found);
            }
        }
    }

    /// Whether a key of the keyring is what a descriptor's key says: the same key at the place that it names.
    pub(crate) async fn derives(&self, tenant: TenantId, info: &KeyInfo, key: &SignerKey) -> Result<bool> {
        match (&info.public, key) {
            (PublicMaterial::Secp256k1 { public_key }, SignerKey::Single { key, .. }) => {
                Ok(*public_key == key.inner)
            }
            (PublicMaterial::Bip32 { fingerprint, .. }, key) => {
                let Some(path) = path_under(*fingerprint, key) else { return Ok(false) };
                let own = self.keyring.account_xpub(tenant, info.id, &path).await?.xpub;
                Ok(match key {
                    SignerKey::Account { xpub, .. } => {
                        own.public_key == xpub.public_key && own.chain_code == xpub.chain_code
                    }
                    SignerKey::Single { key, .. } => own.public_key == key.inner,
                })
            }
            _ => Ok(false),
        }
    }

    async fn check_own(&self, tenant: TenantId, key: KeyId, signer: &KeyHolder, field: &str) -> Result<()> {
        let info = self.keyring.get(tenant, key).await?;
        if !self.derives(tenant, &info, &signer.key).await? {
            return Err(Error::invalid(
                field,
                format!("{} is not what key {key} derives at the origin that it names", signer.key),
            ));
        }
        let native = matches!(info.public, PublicMaterial::Secp256k1 { .. });
        if native && signer.key.origin().is_some_and(|origin| !origin.path.is_empty()) {
            let reason = format!("key {key} derives no others: write it without a path in its origin");
            return Err(Error::invalid(field, reason));
        }
        Ok(())
    }

    async fn check_algorithms(&self, tenant: TenantId, keys: &Keys, signers: &[KeyHolder]) -> Result<()> {
        let algorithm = if keys.whole.kind().is_taproot() {
            Algorithm::SchnorrSecp256k1
        } else {
            Algorithm::EcdsaSecp256k1
        };
        for signer in signers {
            if let HeldBy::Active { key } | HeldBy::Reserve { key } = signer.held_by {
                self.suits(&self.keyring.get(tenant, key).await?, algorithm)?;
            }
        }
        Ok(())
    }

    /// Whether a key can sign for a wallet whose scripts need `algorithm`: wherever it is, and never without an approval.
    fn suits(&self, info: &KeyInfo, algorithm: Algorithm) -> Result<()> {
        if info.usage.direct {
            let reason = format!(
                "key {} may be used without an approval, so that a wallet's policy would not hold: take direct use from \
                 it, or make another key",
                info.id
            );
            return Err(Error::invalid("script", reason));
        }
        let mut able =
            info.usage.allows(Algorithm::EcdsaSecp256k1).then_some(["wpkh", "multisig"].as_slice());
        let mut taproot = info.usage.allows(Algorithm::SchnorrSecp256k1).then_some(["tr"].as_slice());
        let mut lacking = None;
        for replica in info.replicas.iter().filter(|replica| replica.erased_at.is_none()) {
            let capabilities = self.keyring.capabilities(&replica.provider)?;
            if !capabilities.computes(info.spec, algorithm) {
                lacking = lacking.or(Some(replica.provider.as_str()));
            }
            able = able.filter(|_| capabilities.computes(info.spec, Algorithm::EcdsaSecp256k1));
            taproot = taproot.filter(|_| capabilities.computes(info.spec, Algorithm::SchnorrSecp256k1));
        }
        if lacking.is_none() && info.usage.allows(algorithm) {
            return Ok(());
        }
        let why = lacking.map_or_else(
            || "its rules do not name it".to_owned(),
            |provider| format!("provider `{provider}`, which holds it, cannot"),
        );
        let others =
            [able, taproot].into_iter().flatten().flatten().copied().collect::<Vec<_>>().join(" or ");
        let remedy = match others.as_str() {
            "" => "use another key".to_owned(),
            others => format!("{others} would do"),
        };
        Err(Error::Unsupported(format!("key {} cannot compute {algorithm}: {why}; {remedy}", info.id)))
    }
}

/// The path at which a key lies under the root of this fingerprint, if it says that it does.
pub(crate) fn path_under(root: Fingerprint, key: &SignerKey) -> Option<DerivationPath> {
    match key {
        // A root itself.
        SignerKey::Account { origin: None, xpub } if xpub.depth == 0 => {
            (xpub.fingerprint() == root).then(DerivationPath::default)
        }
        _ => key.origin().filter(|origin| origin.fingerprint == root).map(|origin| origin.path.clone()),
    }
}
