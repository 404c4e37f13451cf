//! What a new wallet is made of, as flags and files say it.

use std::path::PathBuf;

use anya_api::wallet::{NewCosigner, NewWallet, Signer, WalletFormat, WalletLock, WalletScript};
use anya_primitives::KeyId;
use clap::{Args, ValueEnum};

use crate::{
    error::{Error, Result},
    input_file,
};

/// Most bytes of a wallet's file (1 MiB).
const MAX_FILE: u64 = 1 << 20;

/// What a new wallet is made of.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya wallet create hot --script wpkh --key key_0198…
  anya wallet create savings --script tr --key key_0198… --account 1
  anya wallet create vault --script multisig --threshold 2 \\
      --cosigner hsm=active:key_0198… --cosigner backup=reserve:key_0198… \\
      --cosigner 'cfo=outside:[d34db33f/48h/1h/0h/2h]tpubDE…'
  anya wallet preview heirloom --script policy --lock tr \\
      --policy 'hsm and cfo; or after 4032 blocks cfo alone' \\
      --cosigner hsm=active:key_0198… --cosigner 'cfo=outside:[d34db33f/48h/1h/0h/3h]tpubDE…'
  anya wallet create board --script decaying --lock wsh --threshold 3 --step 4032 --step 12960 --cosigner …
  anya wallet create old --script descriptor --descriptor 'wsh(multi(2,[d34db33f/48h/1h/0h/2h]tpubDE…/<0;1>/*,…))'

A cosigner is NAME=active:KEY[/ACCOUNT] (signs when an operation executes), NAME=reserve:KEY[/ACCOUNT]
(kept for recovery, never signs by itself) or NAME=outside:[ORIGIN]XPUB (signs elsewhere, through PSBTs).
With a descriptor, cosigners only name holders: keys of this server are found by deriving them.")]
pub(crate) struct Create {
    /// A name, unique in the tenant
    name: String,
    /// Its script
    #[arg(long, value_enum)]
    script: Script,
    /// The HD key that signs (wpkh, sh-wpkh, tr)
    #[arg(
        long,
        value_name = "KEY",
        required_if_eq_any([("script", "wpkh"), ("script", "sh-wpkh"), ("script", "tr")])
    )]
    key: Option<KeyId>,
    /// BIP44 account number (wpkh, sh-wpkh, tr)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=0x7fff_ffff))]
    account: Option<u32>,
    /// How many must sign (multisig, decaying)
    #[arg(long, value_name = "M", required_if_eq_any([("script", "multisig"), ("script", "decaying")]))]
    threshold: Option<u32>,
    /// Who may sign; repeated. KEY is a bip32 key, or a secp256k1 key that never leaves its device
    #[arg(
        long = "cosigner",
        value_name = "NAME=SIGNER",
        value_parser = cosigner,
        required_if_eq_any([("script", "multisig"), ("script", "policy"), ("script", "decaying")])
    )]
    cosigners: Vec<NewCosigner>,
    /// The rule in words (policy): 'NAME alone', 'A and B', 'any of A, B' or 'K of N of A, B, C', each perhaps
    /// after 'after N blocks', set apart by '; or '
    #[arg(long, value_name = "WORDS", required_if_eq("script", "policy"))]
    policy: Option<String>,
    /// How outputs are locked (policy, decaying)
    #[arg(long, value_enum, required_if_eq_any([("script", "policy"), ("script", "decaying")]))]
    lock: Option<Lock>,
    /// After how many blocks of rest one signer fewer is needed (decaying); repeated, rising
    #[arg(
        long = "step",
        value_name = "BLOCKS",
        value_parser = clap::value_parser!(u16).range(1..),
        required_if_eq("script", "decaying")
    )]
    steps: Vec<u16>,
    /// The descriptor of both keychains (descriptor)
    #[arg(long, value_name = "TEXT", required_if_eq("script", "descriptor"))]
    descriptor: Option<String>,
}

/// Script kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Script {
    /// One key, native SegWit (BIP84)
    Wpkh,
    /// One key, SegWit nested in P2SH (BIP49)
    ShWpkh,
    /// One key, Taproot (BIP86)
    Tr,
    /// M of N keys, native SegWit (BIP48)
    Multisig,
    /// A rule in words
    Policy,
    /// M of N keys, and one fewer at each step that a coin has rested
    Decaying,
    /// Whatever a descriptor says
    Descriptor,
}

/// How outputs are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lock {
    /// Native SegWit
    Wsh,
    /// SegWit nested in P2SH
    ShWsh,
    /// Taproot
    Tr,
}

/// The forms in which wallets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WalletForm {
    /// The descriptor as text
    Descriptor,
    /// Bitcoin Core's importdescriptors
    Core,
    /// Descriptors as Sparrow reads them
    Sparrow,
    /// Specter Desktop's wallet file
    Specter,
    /// Caravan's wallet file
    Caravan,
    /// Electrum's wallet file, watching only
    Electrum,
    /// Coldcard's multisig file
    Coldcard,
    /// A descriptor record (BIP129)
    Bsms,
    /// A wallet policy (BIP388)
    Bip388,
}

impl From<WalletForm> for WalletFormat {
    fn from(form: WalletForm) -> Self {
        match form {
            WalletForm::Descriptor => Self::Descriptor,
            WalletForm::Core => Self::Core,
            WalletForm::Sparrow => Self::Sparrow,
            WalletForm::Specter => Self::Specter,
            WalletForm::Caravan => Self::Caravan,
            WalletForm::Electrum => Self::Electrum,
            WalletForm::Coldcard => Self::Coldcard,
            WalletForm::Bsms => Self::Bsms,
            WalletForm::Bip388 => Self::Bip388,
        }
    }
}

/// A wallet that another program tells.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya wallet import vault.json --name vault --preview
  anya wallet import vault.json --name vault --cosigner hsm=active:key_0198…
  bitcoin-cli -rpcwallet=old listdescriptors | anya wallet import - --name old --which 2

Read are files of Bitcoin Core (listdescriptors), Sparrow, Specter, Caravan, Electrum and Coldcard, wallet policies
(BIP388), descriptor records (BIP129) and plain descriptors, told apart by what is in them. Keys of this server are
found by deriving them. The wallet begins at the newest block: coins that came before are not looked for.")]
pub(crate) struct Import {
    /// The file; `-` reads standard input
    file: PathBuf,
    /// A name, unique in the tenant
    #[arg(long)]
    name: String,
    /// Which of the file's wallets, counted from 0, where it holds several
    #[arg(long, value_name = "N")]
    which: Option<u32>,
    /// Names a holder of one of its keys; repeated
    #[arg(long = "cosigner", value_name = "NAME=SIGNER", value_parser = cosigner)]
    cosigners: Vec<NewCosigner>,
    /// Only say what it would be
    #[arg(long)]
    preview: bool,
}

impl Import {
    /// The wallet, and whether it is only to be looked at.
    pub(crate) fn into_new(self) -> Result<(NewWallet, bool)> {
        let bytes = input_file::read(&self.file, MAX_FILE + 1)?;
        let shown = self.file.display();
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::Invalid(format!("{shown}: is longer than {MAX_FILE} bytes")));
        }
        let file = String::from_utf8(bytes)
            .map_err(|_| Error::Invalid(format!("{shown}: is no text: export the wallet as JSON or text")))?;
        let script = WalletScript::File { file, which: self.which, signers: self.cosigners };
        Ok((NewWallet { name: self.name, script }, self.preview))
    }
}

fn cosigner(text: &str) -> Result<NewCosigner, String> {
    let form = "use NAME=active:KEY[/ACCOUNT], NAME=reserve:KEY[/ACCOUNT] or NAME=outside:[ORIGIN]XPUB";
    let (name, signer) = text.split_once('=').ok_or(form)?;
    let (kind, value) = signer.split_once(':').ok_or(form)?;
    let signer = match kind {
        "active" => account_key(value).map(|(key, account)| Signer::Active { key, account })?,
        "reserve" => account_key(value).map(|(key, account)| Signer::Reserve { key, account })?,
        "outside" if !value.is_empty() => Signer::Outside { xpub: value.to_owned() },
        _ => return Err(form.into()),
    };
    if name.is_empty() { Err(form.into()) } else { Ok(NewCosigner { name: name.to_owned(), signer }) }
}

fn account_key(text: &str) -> Result<(KeyId, u32), String> {
    let (key, account) = text.split_once('/').unwrap_or((text, "0"));
    let account = account
        .parse()
        .ok()
        .filter(|account| *account <= 0x7fff_ffff_u32)
        .ok_or("the account is a number from 0 to 2147483647")?;
    Ok((key.parse().map_err(|error: anya_primitives::id::ParseIdError| error.to_string())?, account))
}

impl Create {
    pub(crate) fn into_new(self) -> Result<NewWallet> {
        self.check_flags()?;
        let account = self.account.unwrap_or_default();
        let lock = self.lock.map(|lock| match lock {
            Lock::Wsh => WalletLock::Wsh,
            Lock::ShWsh => WalletLock::ShWsh,
            Lock::Tr => WalletLock::Tr,
        });
        let missing = || Error::Usage("a flag that --script needs is missing: see --help".into());
        let key = self.key.ok_or_else(missing);
        let cosigners = self.cosigners;
        let script = match self.script {
            Script::Wpkh => WalletScript::Wpkh { key: key?, account },
            Script::ShWpkh => WalletScript::ShWpkh { key: key?, account },
            Script::Tr => WalletScript::Tr { key: key?, account },
            Script::Multisig => {
                WalletScript::Multisig { threshold: self.threshold.ok_or_else(missing)?, cosigners }
            }
            Script::Policy => WalletScript::Policy {
                lock: lock.ok_or_else(missing)?,
                policy: self.policy.ok_or_else(missing)?,
                cosigners,
            },
            Script::Decaying => WalletScript::Decaying {
                lock: lock.ok_or_else(missing)?,
                threshold: self.threshold.ok_or_else(missing)?,
                steps: self.steps,
                cosigners,
            },
            Script::Descriptor => WalletScript::Descriptor {
                descriptor: self.descriptor.ok_or_else(missing)?,
                signers: cosigners,
            },
        };
        Ok(NewWallet { name: self.name, script })
    }

    /// A flag that the script does not take is a mistake, and never passed over.
    fn check_flags(&self) -> Result<()> {
        use Script::{Decaying, Descriptor, Multisig, Policy, ShWpkh, Tr, Wpkh};
        let single: &[Script] = &[Wpkh, ShWpkh, Tr];
        let flags: [(&str, bool, &[Script]); 8] = [
            ("--key", self.key.is_some(), single),
            ("--account", self.account.is_some(), single),
            ("--threshold", self.threshold.is_some(), &[Multisig, Decaying]),
            ("--cosigner", !self.cosigners.is_empty(), &[Multisig, Policy, Decaying, Descriptor]),
            ("--policy", self.policy.is_some(), &[Policy]),
            ("--lock", self.lock.is_some(), &[Policy, Decaying]),
            ("--step", !self.steps.is_empty(), &[Decaying]),
            ("--descriptor", self.descriptor.is_some(), &[Descriptor]),
        ];
        for (flag, given, scripts) in flags {
            if given && !scripts.contains(&self.script) {
                let names: Vec<String> = scripts
                    .iter()
                    .filter_map(|script| script.to_possible_value())
                    .map(|value| value.get_name().to_owned())
                    .collect();
                return Err(Error::Usage(format!("{flag} belongs to --script {}", names.join(", "))));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosigners_are_read_and_bad_ones_are_told_the_form() {
        let key = KeyId::new();
        let active = cosigner(&format!("hsm=active:{key}/3")).unwrap();
        assert_eq!((active.name.as_str(), active.signer), ("hsm", Signer::Active { key, account: 3 }));
        let outside = cosigner("cfo=outside:[d34db33f/48h/1h/0h/2h]tpubX").unwrap();
        assert_eq!(outside.signer, Signer::Outside { xpub: "[d34db33f/48h/1h/0h/2h]tpubX".into() });
        for bad in ["", "x", "x=", "x=active", "x=active:key_1", "x=other:y", "=outside:y", "x=outside:"] {
            assert!(cosigner(bad).is_err(), "{bad}");
        }
        assert!(cosigner(&format!("x=active:{key}/2147483648")).is_err());
    }
}
