//! A ledger, a software keystore and a keyring in a folder of their own.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{path::Path, sync::Arc};

use anya_keys::{
    Error, ImportMaterial, KeyInfo, KeySpec, KeyUsage, Keyring, MIGRATIONS, NewKey, Provider, Result,
    SignRequest, Signature,
};
use anya_keystore::{KdfCost, SOFTWARE, SoftwareProvider};
use anya_primitives::{KeyId, SystemClock, TenantId};
use anya_store::{Ledger, LedgerOptions, TenantTx};
use secrecy::{SecretSlice, SecretString};
use tempfile::TempDir;

pub(crate) const PASSPHRASE: &str = "a passphrase for tests";

pub(crate) fn passphrase() -> SecretString {
    SecretString::from(PASSPHRASE)
}

pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) ledger: Ledger,
    pub(crate) software: Arc<SoftwareProvider>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) tenant: TenantId,
}

pub(crate) fn open_ledger(folder: &Path) -> Ledger {
    Ledger::open(&folder.join("ledger.db"), MIGRATIONS, LedgerOptions::default()).unwrap()
}

pub(crate) fn keyring(ledger: &Ledger, provider: Arc<dyn Provider>) -> Arc<Keyring> {
    Arc::new(Keyring::new(ledger.clone(), vec![provider], Arc::new(SystemClock)))
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keystore.json");
        let software = SoftwareProvider::init(&file, passphrase(), KdfCost::insecure_for_tests());
        let software = Arc::new(software.await.unwrap());
        let ledger = open_ledger(folder.path());
        let keyring = keyring(&ledger, software.clone());
        Self { folder, ledger, software, keyring, tenant: TenantId::new() }
    }

    /// Everything closed and opened again from the files.
    pub(crate) async fn restarted(self) -> Self {
        let Self { folder, ledger, software, keyring: old, tenant } = self;
        drop((ledger, software, old));
        let file = folder.path().join("keystore.json");
        let software = Arc::new(SoftwareProvider::unlock(&file, passphrase()).await.unwrap());
        let ledger = open_ledger(folder.path());
        let keyring = keyring(&ledger, software.clone());
        Self { folder, ledger, software, keyring, tenant }
    }

    pub(crate) async fn generate(&self, name: &str, spec: KeySpec) -> KeyInfo {
        self.keyring.generate(self.tenant, new_key(name, spec), nothing).await.unwrap()
    }

    pub(crate) async fn import(&self, name: &str, spec: KeySpec, secret: &[u8]) -> Result<KeyInfo> {
        let material = ImportMaterial::Secret(SecretSlice::from(secret.to_vec()));
        self.keyring.import(self.tenant, new_key(name, spec), material, nothing).await
    }

    pub(crate) async fn import_phrase(
        &self,
        name: &str,
        phrase: &str,
        pass: Option<&str>,
    ) -> Result<KeyInfo> {
        let material =
            ImportMaterial::Mnemonic { phrase: phrase.into(), passphrase: pass.map(SecretString::from) };
        self.keyring.import(self.tenant, new_key(name, KeySpec::Bip32Seed), material, nothing).await
    }
}

pub(crate) fn new_key(name: &str, spec: KeySpec) -> NewKey {
    let usage = KeyUsage { direct: true, ..KeyUsage::default() };
    NewKey { usage, ..NewKey::new(name, spec, SOFTWARE) }
}

/// Signs by direct use, which the keys of these tests allow.
pub(crate) async fn sign(
    keyring: &Keyring,
    tenant: TenantId,
    key: KeyId,
    request: &SignRequest<'_>,
) -> Result<Signature> {
    let signed = keyring.sign_direct(tenant, key, request, |_, _, _| Ok::<_, Error>(())).await?;
    Ok(signed.signature)
}

pub(crate) fn nothing(_: &TenantTx<'_>, _: &KeyInfo) -> Result<(), Error> {
    Ok(())
}

pub(crate) fn hexed(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

pub(crate) fn hexed32(text: &str) -> [u8; 32] {
    hexed(text).try_into().unwrap()
}
