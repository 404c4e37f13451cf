//! What a wallet's descriptor means: its ways to spend, its first addresses, its files, and what each signer must see.

use anya_descriptor::{Birthday, Definition, Keychain, MAX_NAME, Participant, SignerKey, Verification, file};
use anya_primitives::{TenantId, WalletId};
use bitcoin::{Address, Weight};

use crate::{
    descriptor::Keys,
    error::{Error, Result},
    info::{HeldBy, KeyHolder, NewWallet, ScriptKind, Signer, WalletInfo},
    wallets::Wallets,
};

/// So many addresses of each keychain are shown.
const SHOWN: u32 = 5;

/// What a descriptor means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The descriptor of both keychains with its checksum.
    pub descriptor: String,
    /// Its checksum, by which people compare it (BIP380).
    pub checksum: String,
    /// Who can spend, and when, in words.
    pub words: String,
    /// Every way to spend, by the number that [`DraftRequest::spend_path`](crate::DraftRequest::spend_path) takes.
    pub ways: Vec<SpendWay>,
    /// Who holds its keys.
    pub signers: Vec<KeyHolder>,
    /// The first addresses of the receive keychain.
    pub receive: Vec<Address>,
    /// The first addresses of the change keychain.
    pub change: Vec<Address>,
}

/// One way to spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendWay {
    /// Who signs, and when, in words.
    pub words: String,
    /// The most weight that it adds to an input, beyond an unsigned one with an empty witness.
    pub max_weight: Weight,
    /// For so many blocks a coin must have rested (BIP68).
    pub after_blocks: Option<u16>,
    /// From which block on (BIP65).
    pub from_block: Option<u32>,
    /// Why it can never be taken here, if it cannot.
    pub obstacle: Option<String>,
    /// Whether it is taken when none is named.
    pub default: bool,
}

impl Wallets {
    /// What a new wallet would be. Nothing is made.
    ///
    /// # Errors
    /// Those of [`Wallets::create`], but for names and descriptors that other wallets have.
    pub async fn preview(&self, tenant: TenantId, new: &NewWallet) -> Result<Preview> {
        let (keys, _) = self.inner.prepare(tenant, new).await?;
        self.previewed(&keys, &new.script)
    }

    /// What a wallet is.
    ///
    /// # Errors
    /// [`Error::NoWallet`].
    pub fn describe(&self, tenant: TenantId, wallet: WalletId) -> Result<Preview> {
        let slot = self.inner.slot((tenant, wallet))?;
        self.previewed(&slot.keys, &slot.info.script)
    }

    fn previewed(&self, keys: &Keys, script: &ScriptKind) -> Result<Preview> {
        let addresses = |keychain| {
            (0..SHOWN).map(|index| Ok(keys.whole.address(keychain, index)?)).collect::<Result<Vec<_>>>()
        };
        let default = keys.default_path();
        let ways = keys.paths.iter().enumerate().map(|(at, path)| SpendWay {
            words: keys.words(at).unwrap_or_default(),
            max_weight: path.max_weight,
            after_blocks: match path.condition.older.map(bitcoin::relative::LockTime::from) {
                Some(bitcoin::relative::LockTime::Blocks(blocks)) => Some(blocks.value()),
                _ => None,
            },
            from_block: match path.condition.after.map(bitcoin::absolute::LockTime::from) {
                Some(bitcoin::absolute::LockTime::Blocks(height)) => Some(height.to_consensus_u32()),
                _ => None,
            },
            obstacle: keys.obstacle(at),
            default: at == default,
        });
        let ways: Vec<SpendWay> = ways.collect();
        Ok(Preview {
            descriptor: keys.shown.clone(),
            checksum: keys.whole.checksum()?,
            words: ways.iter().map(|way| way.words.as_str()).collect::<Vec<_>>().join("; or "),
            ways,
            signers: holders(keys, script),
            receive: addresses(Keychain::Receive)?,
            change: addresses(Keychain::Change)?,
        })
    }

    /// The wallet in a form that other wallets read.
    ///
    /// # Errors
    /// [`Error::Descriptor`] where the form cannot tell such a wallet.
    pub fn export(&self, tenant: TenantId, wallet: WalletId, format: file::Format) -> Result<String> {
        let slot = self.inner.slot((tenant, wallet))?;
        Ok(file::export(&definition(&slot.keys, &slot.info)?, format)?)
    }

    /// One address, and what every signer should find of it on its own.
    ///
    /// # Errors
    /// [`Error::Descriptor`] for an index that no key has.
    pub fn verification(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        keychain: Keychain,
        index: u32,
    ) -> Result<Verification> {
        let slot = self.inner.slot((tenant, wallet))?;
        Ok(definition(&slot.keys, &slot.info)?.verification(keychain, index)?)
    }
}

fn definition(keys: &Keys, info: &WalletInfo) -> Result<Definition> {
    let participants = keys
        .participants
        .iter()
        .map(|participant| Participant { name: participant.name.clone(), key: participant.key.clone() });
    let name: String = info.name.chars().take(MAX_NAME).collect();
    let birthday = Birthday { height: Some(info.birthday_height), time: Some(info.created_at) };
    let wallet = Definition::new(&name, keys.whole.clone(), participants.collect()).map_err(Error::from)?;
    Ok(wallet.with_birthday(birthday))
}

/// Who holds the keys, whatever kind of script they are of.
fn holders(keys: &Keys, script: &ScriptKind) -> Vec<KeyHolder> {
    let roles: Vec<HeldBy> = match script {
        ScriptKind::Wpkh { key, .. } | ScriptKind::Tr { key, .. } => vec![HeldBy::Active { key: *key }],
        ScriptKind::WshSortedMulti { cosigners, .. } => cosigners
            .iter()
            .map(|cosigner| match &cosigner.signer {
                Signer::Active { key, .. } => HeldBy::Active { key: *key },
                Signer::Reserve { key, .. } => HeldBy::Reserve { key: *key },
                Signer::Outside { .. } => HeldBy::Outside,
            })
            .collect(),
        ScriptKind::Descriptor { signers, .. } => signers.iter().map(|signer| signer.held_by).collect(),
    };
    let holder = |(participant, held_by): (&crate::descriptor::Participant, HeldBy)| KeyHolder {
        name: participant.name.clone(),
        key: SignerKey::clone(&participant.key),
        held_by,
    };
    keys.participants.iter().zip(roles).map(holder).collect()
}
