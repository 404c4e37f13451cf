//! The payment that needs a signature from outside.

use super::caller::write_private;
use super::cosigner::Cosigner;
use super::payments::Payments;
use super::report::Report;
use super::wallets::OUTSIDE;
use crate::error::Error;

const AMOUNT_SAT: u64 = 50_000_000;

impl Payments<'_> {
    /// A payment out of the vault: approved by two, signed by its key here, then by the cosigner outside.
    ///
    /// # Errors
    /// When a step fails, or the transaction that goes out is not the one that was fixed before.
    pub(super) fn out_of_the_vault(
        &self,
        cosigner: &Cosigner<'_>,
        report: &mut Report,
    ) -> Result<String, Error> {
        let people = self.people;
        let proposed = self.pay(&self.wallets.vault, self.stranger, AMOUNT_SAT, &[])?;
        let id = proposed.text("/operation/id")?;
        report.operation(&id, "out of the vault", "2-of-3 multisig, one key outside", "settled");
        people.approve_by_two(&id)?;
        let waiting = people.alice.wait(&id, "awaiting_signatures")?;
        waiting.expect("/state", "awaiting_signatures")?;
        let missing = waiting.at("/transaction/missing_signers")?;
        if !missing.as_array().is_some_and(|names| names.iter().any(|name| name == OUTSIDE)) {
            return Err(waiting.unexpected("/transaction/missing_signers", OUTSIDE, &missing.to_string()));
        }
        let txid = waiting.text("/transaction/txid")?;

        let exported = people.alice.anya(&["psbt", "export", &id, "--out", "vault.psbt"])?;
        let signed = cosigner.sign(&exported.text("/psbt")?, self.stranger, AMOUNT_SAT)?;
        write_private(&self.shell.file("vault-signed.psbt"), &format!("{signed}\n"))?;
        people.alice.anya(&["psbt", "import", &id, "vault-signed.psbt"])?;
        people.alice.wait(&id, "broadcast")?.expect("/transaction/txid", txid)?;
        Ok(id)
    }
}
