//! Keys in the keystore, three wallets on them, and coins.

use std::time::Duration;

use super::answer::Answer;
use super::caller::Caller;
use super::cosigner::Cosigner;
use super::household::Household;
use super::node::Node;
use super::report::Report;
use crate::error::Error;

/// Longest wait for the server to have seen a block.
pub(super) const SEEN: Duration = Duration::from_secs(30);

/// The name that the outside cosigner has in the vault.
pub(super) const OUTSIDE: &str = "cfo";

/// What each wallet gets, in two coins.
const COINS: [&str; 2] = ["3.00000000", "2.00000000"];
const COINS_SAT: u64 = 500_000_000;

/// The wallets' ids.
pub(super) struct Wallets {
    /// One key, native SegWit (BIP84).
    pub(super) wpkh: String,
    /// One key, Taproot (BIP86).
    pub(super) tr: String,
    /// Two of three: a key that signs, one in reserve, and one outside.
    pub(super) vault: String,
    vault_descriptor: String,
}

/// Makes the keys and the wallets.
///
/// # Errors
/// When a command fails or answers otherwise than expected.
pub(super) fn create(
    setup: &Caller<'_>,
    cosigner: &Cosigner<'_>,
    report: &mut Report,
) -> Result<Wallets, Error> {
    let key = |name: &str| -> Result<String, Error> {
        let created = setup.anya(&["key", "create", name, "--kind", "bip32-seed"])?;
        created.expect("/state", "active")?.text("/id")
    };
    let (everyday, vault, reserve) = (key("everyday")?, key("vault")?, key("reserve")?);
    let single = |name: &str, script: &str| -> Result<String, Error> {
        let created = setup.anya(&["wallet", "create", name, "--script", script, "--key", &everyday])?;
        created.expect("/script/kind", script)?.text("/id")
    };
    let (wpkh, tr) = (single("payments", "wpkh")?, single("savings", "tr")?);
    let active = format!("signer=active:{vault}");
    let reserve = format!("backup=reserve:{reserve}");
    let outside = format!("{OUTSIDE}=outside:{}", cosigner.xpub());
    let mut words = vec!["wallet", "create", "vault", "--script", "multisig", "--threshold", "2"];
    words.extend(["--cosigner", &active, "--cosigner", &reserve, "--cosigner", &outside]);
    let created = setup.anya(&words)?;
    created.expect("/script/threshold", 2)?;
    let listed = setup.anya(&["wallet", "list"])?;
    report.by_hand("the wallets", &listed);
    Ok(Wallets { wpkh, tr, vault: created.text("/id")?, vault_descriptor: created.text("/descriptor")? })
}

impl Wallets {
    /// Sends coins to new addresses of each wallet, mines, and waits until each wallet's balance shows them. The
    /// outside cosigner finds the vault's addresses by itself.
    ///
    /// # Errors
    /// When a command fails or a balance is not what was sent.
    pub(super) fn fund(
        &self,
        household: &mut Household,
        node: &Node<'_>,
        setup: &Caller<'_>,
        cosigner: &Cosigner<'_>,
        report: &mut Report,
    ) -> Result<(), Error> {
        cosigner.watch(&self.vault_descriptor)?;
        let mut payments = Vec::new();
        for wallet in [&self.wpkh, &self.tr, &self.vault] {
            for amount in COINS {
                let made = setup.anya(&["address", "new", wallet])?;
                let address = made.text("/address")?;
                if *wallet == self.vault && !cosigner.knows(&address)? {
                    return Err(made.unexpected("/address", "an address of the cosigner's, too", &address));
                }
                payments.push((address, amount));
            }
        }
        let payments: Vec<_> = payments.iter().map(|(address, amount)| (address.as_str(), *amount)).collect();
        node.pay(&payments)?;
        node.mine(1)?;
        for wallet in [&self.wpkh, &self.tr, &self.vault] {
            let seen = household.wait_for(&format!("the coins of {wallet}"), SEEN, || {
                let balance = balance(setup, wallet)?;
                Ok((balance.number("/confirmed_sat")? != 0).then_some(balance))
            })?;
            seen.expect("/confirmed_sat", COINS_SAT)?.expect("/spendable_sat", COINS_SAT)?;
            if *wallet == self.wpkh {
                report.by_hand("a balance", &seen);
            }
        }
        Ok(())
    }
}

fn balance(caller: &Caller<'_>, wallet: &str) -> Result<Answer, Error> {
    caller.anya(&["wallet", "balance", wallet])
}
