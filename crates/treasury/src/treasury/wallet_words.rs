//! What wallets are made of, in the words of the API and in those of the wallet crate.

use anya_api::wallet::{
    AddressCheck, CheckQuery, KeyHolder, KeyRole, NewCosigner, Signer, SignerView, SpendWay, WalletFormat,
    WalletKeychain, WalletLock, WalletMeaning, WalletQuorum, WalletScript,
};
use anya_descriptor::{Keychain, Lock, Purpose, Verification, file::Format};
use anya_wallet::{Cosigner, HeldBy, Preview, Rule, ScriptKind, Source};

use crate::Error;

/// What a new wallet is to be made of.
pub(super) fn source(script: WalletScript) -> Result<Source, Error> {
    Ok(match script {
        WalletScript::Wpkh { key, account } => Source::Script(ScriptKind::Wpkh { key, account }),
        WalletScript::Tr { key, account } => Source::Script(ScriptKind::Tr { key, account }),
        WalletScript::Multisig { threshold, cosigners } => {
            Source::Script(ScriptKind::WshSortedMulti { threshold, cosigners: cosigners_of(cosigners) })
        }
        WalletScript::ShWpkh { key, account } => Source::Single { purpose: Purpose::Bip49, key, account },
        WalletScript::Descriptor { descriptor, signers } => {
            Source::Descriptor { descriptor, signers: cosigners_of(signers) }
        }
        WalletScript::Policy { lock, policy, cosigners } => Source::Rule {
            lock: lock_of(lock),
            cosigners: cosigners_of(cosigners),
            rule: Rule::Words(policy),
        },
        WalletScript::Recovery { lock, signers, recovery, after_blocks, cosigners } => {
            let rule = Rule::Recovery {
                signers: quorum("script.signers.threshold", signers)?,
                recovery: quorum("script.recovery.threshold", recovery)?,
                after: after_blocks,
            };
            Source::Rule { lock: lock_of(lock), cosigners: cosigners_of(cosigners), rule }
        }
        WalletScript::Decaying { lock, threshold, steps, cosigners } => {
            let rule = Rule::Decaying { needed: count("script.threshold", threshold)?, steps };
            Source::Rule { lock: lock_of(lock), cosigners: cosigners_of(cosigners), rule }
        }
        WalletScript::File { file, which, signers } => {
            let which = which.map(|which| count("script.which", which)).transpose()?;
            Source::File { file, which, signers: cosigners_of(signers) }
        }
    })
}

fn count(field: &str, number: u32) -> Result<usize, Error> {
    usize::try_from(number).map_err(|_| Error::invalid(field, "is too large"))
}

fn quorum(field: &str, quorum: WalletQuorum) -> Result<(usize, Vec<String>), Error> {
    Ok((count(field, quorum.threshold)?, quorum.of))
}

fn lock_of(lock: WalletLock) -> Lock {
    match lock {
        WalletLock::Wsh => Lock::Wsh,
        WalletLock::ShWsh => Lock::ShWsh,
        WalletLock::Tr => Lock::Tr,
    }
}

fn cosigners_of(cosigners: Vec<NewCosigner>) -> Vec<Cosigner> {
    let signer = |signer| match signer {
        Signer::Active { key, account } => anya_wallet::Signer::Active { key, account },
        Signer::Reserve { key, account } => anya_wallet::Signer::Reserve { key, account },
        Signer::Outside { xpub } => anya_wallet::Signer::Outside { xpub },
    };
    cosigners
        .into_iter()
        .map(|cosigner| Cosigner { name: cosigner.name, signer: signer(cosigner.signer) })
        .collect()
}

/// A wallet's script as it is shown.
pub(super) fn script(script: ScriptKind) -> WalletScript {
    match script {
        ScriptKind::Wpkh { key, account } => WalletScript::Wpkh { key, account },
        ScriptKind::Tr { key, account } => WalletScript::Tr { key, account },
        ScriptKind::WshSortedMulti { threshold, cosigners } => {
            let signer = |signer| match signer {
                anya_wallet::Signer::Active { key, account } => Signer::Active { key, account },
                anya_wallet::Signer::Reserve { key, account } => Signer::Reserve { key, account },
                anya_wallet::Signer::Outside { xpub } => Signer::Outside { xpub },
            };
            let cosigners = cosigners
                .into_iter()
                .map(|Cosigner { name, signer: of }| NewCosigner { name, signer: signer(of) });
            WalletScript::Multisig { threshold, cosigners: cosigners.collect() }
        }
        ScriptKind::Descriptor { descriptor, signers } => {
            let signers = signers.into_iter().map(|holder| NewCosigner {
                name: holder.name,
                signer: match holder.held_by {
                    HeldBy::Active { key } => Signer::Active { key, account: 0 },
                    HeldBy::Reserve { key } => Signer::Reserve { key, account: 0 },
                    HeldBy::Outside => Signer::Outside { xpub: holder.key.to_string() },
                },
            });
            WalletScript::Descriptor { descriptor, signers: signers.collect() }
        }
    }
}

/// What a descriptor means.
pub(super) fn meaning(preview: Preview) -> WalletMeaning {
    let texts = |addresses: Vec<bitcoin::Address>| addresses.iter().map(ToString::to_string).collect();
    let ways = preview.ways.into_iter().map(|way| SpendWay {
        words: way.words,
        max_weight: way.max_weight.to_wu(),
        after_blocks: way.after_blocks,
        from_block: way.from_block,
        obstacle: way.obstacle,
        default: way.default,
    });
    let signers = preview.signers.into_iter().map(|holder| {
        let (role, keyring_key) = match holder.held_by {
            HeldBy::Active { key } => (KeyRole::Active, Some(key)),
            HeldBy::Reserve { key } => (KeyRole::Reserve, Some(key)),
            HeldBy::Outside => (KeyRole::Outside, None),
        };
        KeyHolder { name: holder.name, key: holder.key.to_string(), role, keyring_key }
    });
    WalletMeaning {
        descriptor: preview.descriptor,
        checksum: preview.checksum,
        words: preview.words,
        ways: ways.collect(),
        signers: signers.collect(),
        receive: texts(preview.receive),
        change: texts(preview.change),
    }
}

/// The form by its name on the wire. Sparrow reads the descriptor as text.
pub(super) fn format(format: WalletFormat) -> Format {
    match format {
        WalletFormat::Descriptor | WalletFormat::Sparrow => Format::Descriptor,
        WalletFormat::Core => Format::Core,
        WalletFormat::Specter => Format::Specter,
        WalletFormat::Caravan => Format::Caravan,
        WalletFormat::Electrum => Format::Electrum,
        WalletFormat::Coldcard => Format::Coldcard,
        WalletFormat::Bsms => Format::Bsms,
        WalletFormat::Bip388 => Format::Policy,
    }
}

pub(super) fn keychain(keychain: WalletKeychain) -> Keychain {
    match keychain {
        WalletKeychain::Receive => Keychain::Receive,
        WalletKeychain::Change => Keychain::Change,
    }
}

/// An address for every signer to compare.
pub(super) fn check(found: Verification, query: CheckQuery) -> AddressCheck {
    let signers = found.signers.into_iter().map(|signer| SignerView {
        name: signer.participant,
        fingerprint: signer.fingerprint.map(|fingerprint| fingerprint.to_string()),
        path: format!("m/{}", signer.path),
        public_key: signer.public_key.to_string(),
    });
    AddressCheck {
        address: found.address.to_string(),
        keychain: query.keychain,
        index: query.index,
        checksum: found.checksum,
        script: found.script.map(|script| script.to_hex_string()),
        signers: signers.collect(),
    }
}
