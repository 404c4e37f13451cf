//! Payments: one that passes, one that waits for two, and three that do not go.

use super::answer::Answer;
use super::caller::write_private;
use super::household::Household;
use super::node::Node;
use super::organisation::People;
use super::policy;
use super::report::Report;
use super::shell::Shell;
use super::wallets::{SEEN, Wallets};
use crate::error::Error;

const SMALL_SAT: u64 = 250_000;
const LARGE_SAT: u64 = 50_000_000;

/// More than the day's limit leaves after the large payment, and less than the wallet holds.
const TOO_MUCH_SAT: u64 = 280_000_000;

/// What the payments go through.
pub(super) struct Payments<'a> {
    pub(super) shell: &'a Shell,
    pub(super) node: &'a Node<'a>,
    pub(super) people: &'a People<'a>,
    pub(super) wallets: &'a Wallets,
    /// An address on the allow-list, which nothing was paid to before.
    pub(super) supplier: &'a str,
    /// An address that is not.
    pub(super) stranger: &'a str,
}

impl Payments<'_> {
    /// A small payment to a supplier, proposed by `curl` over the Unix socket; asked for twice, it is made once.
    ///
    /// # Errors
    /// When it does not go.
    pub(super) fn small(&self, report: &mut Report) -> Result<String, Error> {
        let body = format!(
            r#"{{"act":{{"kind":"payment","wallet":"{}","recipients":[{{"address":"{}","amount_sat":{SMALL_SAT}}}],"fee_rate_sat_vb":2.5,"memo":"paper clips"}}}}"#,
            self.wallets.wpkh, self.supplier
        );
        write_private(&self.shell.file("small-payment.json"), &body)?;
        let words = ["--unix-socket", "data/anya.sock", "-H", "Content-Type: application/json"];
        let words =
            [&words[..], &["-H", "Idempotency-Key: paper-clips", "--data", "@small-payment.json"]].concat();
        let propose = || self.people.alice.curl(&words, "http://anya/v1/operations");
        let proposed = propose()?;
        proposed.expect("/evaluation/verdict", "allowed")?;
        let id = proposed.text("/id")?;
        propose()?.expect("/id", id.as_str())?;
        report.by_hand("propose a payment over the API (a new Idempotency-Key makes a new one)", &proposed);
        report.operation(&id, "small payment", "the policy lets it pass", "settled");
        self.people.alice.wait(&id, "broadcast")?;
        Ok(id)
    }

    /// A large payment waits for two approvals.
    ///
    /// # Errors
    /// When it goes without them, or not with them.
    pub(super) fn large(&self, report: &mut Report) -> Result<String, Error> {
        let proposed = self.pay(&self.wallets.tr, self.supplier, LARGE_SAT, &["--memo", "new machine"])?;
        proposed
            .expect("/operation/state", "pending_approval")?
            .expect("/operation/evaluation/requirements/0/rule", "large payments")?;
        let id = proposed.text("/operation/id")?;
        report.by_hand(
            "propose a large payment; then approve it as bob and as carol, and mine two blocks",
            &proposed,
        );
        report.operation(&id, "large payment", "two of three approve", "settled");
        let approved = self.people.approve_by_two(&id)?;
        report.by_hand("sign a yes (to the id of an operation that waits)", &approved);
        self.people.alice.wait(&id, "broadcast")?;
        Ok(id)
    }

    /// One confirmation does not settle; [`policy::SETTLE`] do.
    ///
    /// # Errors
    /// When they settle too early, or not at all, or the supplier did not get the money.
    pub(super) fn settle(
        &self,
        household: &mut Household,
        ids: &[&str],
        report: &mut Report,
    ) -> Result<(), Error> {
        let mine = self.node.mine(1)?;
        report.command_by_hand("mine a block", &mine);
        for id in ids {
            let shown = self.confirmed(household, id, 1)?;
            shown.expect("/state", "broadcast")?;
        }
        self.node.mine(policy::SETTLE - 1)?;
        for id in ids {
            self.people.alice.wait(id, "settled")?;
            self.confirmed(household, id, policy::SETTLE)?;
        }
        Ok(())
    }

    /// Checks that the supplier got what small and large payment promised, to the satoshi.
    ///
    /// # Errors
    /// When it is another sum.
    pub(super) fn check_supplier(&self) -> Result<(), Error> {
        let received = self.node.received(self.supplier)?;
        if received == SMALL_SAT + LARGE_SAT {
            Ok(())
        } else {
            let expected = (SMALL_SAT + LARGE_SAT).to_string();
            Err(Error::WrongSum { of: "the supplier", expected, found: received.to_string() })
        }
    }

    /// A payment beyond the day's limit is refused, whoever asks.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn refused(&self, report: &mut Report) -> Result<(), Error> {
        let to = format!("{}={TOO_MUCH_SAT}", self.supplier);
        let pay = ["pay", &self.wallets.wpkh, "--to", &to];
        let simulated = self.people.alice.anya(&[&pay[..], &["--simulate"]].concat())?;
        simulated.expect("/evaluation/verdict", "refused")?;
        report.by_hand("ask what the policy would say", &simulated);
        let refused = self.people.alice.anya_to(&pay, 7)?;
        refused.expect("/operation/state", "refused")?.expect_said("`a day`")?;
        report.operation(
            &refused.text("/operation/id")?,
            "beyond the day's limit",
            "the policy refuses",
            "refused",
        );
        Ok(())
    }

    /// A large payment that carol rejects.
    ///
    /// # Errors
    /// When it lives on.
    pub(super) fn rejected(&self, report: &mut Report) -> Result<(), Error> {
        let proposed = self.pay(&self.wallets.wpkh, self.supplier, 40_000_000, &[])?;
        let id = proposed.text("/operation/id")?;
        report.operation(&id, "another large one", "an operator rejects it", "rejected");
        self.people.bob.decide("approve", &id)?.expect("/state", "pending_approval")?;
        self.people.carol.decide("reject", &id)?.expect("/state", "rejected")?;
        Ok(())
    }

    /// A payment to a stranger that nobody approves in time. Returns its id; it expires while other things go on.
    ///
    /// # Errors
    /// When it does not wait for approvals.
    pub(super) fn unattended(&self, report: &mut Report) -> Result<String, Error> {
        let proposed = self.pay(&self.wallets.wpkh, self.stranger, SMALL_SAT, &["--expires-in", "2"])?;
        proposed
            .expect("/operation/state", "pending_approval")?
            .expect("/operation/evaluation/requirements/0/rule", "outside the allow-list")?;
        let id = proposed.text("/operation/id")?;
        report.operation(&id, "to a stranger", "nobody approves in time", "expired");
        Ok(id)
    }

    /// Waits for the end of an operation that expires, and sees that a late ballot does not count.
    ///
    /// # Errors
    /// When it does not expire, or takes the ballot.
    pub(super) fn expired(&self, household: &mut Household, id: &str) -> Result<(), Error> {
        household.wait_for("the expiry", SEEN, || {
            let shown = self.people.alice.operation(id)?;
            Ok((shown.text("/state")? == "expired").then_some(()))
        })?;
        let credential = ["--credential", "bob.credential", "--passphrase-file", "bob.passphrase", "--yes"];
        self.people.bob.anya_to(&[&["operation", "approve", id], &credential[..]].concat(), 6)?;
        Ok(())
    }

    /// Alice proposes a payment.
    ///
    /// # Errors
    /// When it cannot be proposed or is refused.
    pub(super) fn pay(
        &self,
        wallet: &str,
        address: &str,
        satoshi: u64,
        more: &[&str],
    ) -> Result<Answer, Error> {
        let to = format!("{address}={satoshi}");
        let words = ["pay", wallet, "--to", &to];
        self.people.alice.anya(&[&words[..], more].concat())
    }

    /// Waits until the operation's transaction has this many confirmations.
    fn confirmed(&self, household: &mut Household, id: &str, confirmations: u32) -> Result<Answer, Error> {
        household.wait_for(&format!("confirmation {confirmations} of {id}"), SEEN, || {
            let shown = self.people.alice.operation(id)?;
            Ok((shown.number("/transaction/confirmations")? == u64::from(confirmations)).then_some(shown))
        })
    }
}
