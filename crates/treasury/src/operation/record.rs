//! An operation as it stands in the ledger.

use anya_api::{
    Digest,
    ballot::SignedBallot,
    intent::Intent,
    operation::{Operation, OperationState, Reason, TransactionView},
    policy::Evaluation,
};
use anya_primitives::{Actor, Amount, OperationId, Timestamp};
use anya_store::{Row, TenantTx, params};
use bitcoin::Txid;

use crate::Error;

/// The row of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: OperationId,
    pub(crate) state: OperationState,
    pub(crate) revision: u64,
    pub(crate) intent: Intent,
    pub(crate) intent_digest: Digest,
    pub(crate) proposer: Actor,
    pub(crate) evaluation: Evaluation,
    pub(crate) request_digest: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) reason: Option<Reason>,
    pub(crate) txid: Option<Txid>,
    pub(crate) fee: Option<Amount>,
    pub(crate) psbt: Option<String>,
    /// Who had yet to sign when own signatures were handed out; none when they never were.
    pub(crate) missing_signers: Option<Vec<String>>,
    pub(crate) raw_tx: Option<String>,
    pub(crate) sends: u64,
    pub(crate) answers: u64,
    pub(crate) block_height: Option<u32>,
    pub(crate) block_hash: Option<String>,
    pub(crate) confirmed_txid: Option<Txid>,
    pub(crate) confirmed_fee: Option<Amount>,
    pub(crate) attempts: u32,
}

impl Record {
    /// Reads a row of `operations`.
    pub(crate) fn from_row(row: &Row<'_>) -> Result<Self, Error> {
        let state: String = row.get("state")?;
        let code: Option<String> = row.get("reason_code")?;
        let detail: Option<String> = row.get("reason_detail")?;
        let digest: String = row.get("intent_digest")?;
        let missing: Option<String> = row.get("missing_signers")?;
        Ok(Self {
            id: row.get("id")?,
            state: OperationState::from_name(&state).ok_or_else(|| damaged("state"))?,
            revision: row.get("revision")?,
            intent: row.json("intent")?,
            intent_digest: digest.parse().map_err(|_| damaged("intent digest"))?,
            proposer: row.get("proposer")?,
            evaluation: row.json("evaluation")?,
            request_digest: row.get("request_digest")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
            expires_at: row.get("expires_at")?,
            reason: code.map(|code| Reason { code, detail: detail.unwrap_or_default() }),
            txid: txid(row, "txid")?,
            fee: row.get("fee")?,
            psbt: row.get("psbt")?,
            missing_signers: missing
                .map(|text| serde_json::from_str(&text).map_err(|_| damaged("missing signers")))
                .transpose()?,
            raw_tx: row.get("raw_tx")?,
            sends: row.get("sends")?,
            answers: row.get("answers")?,
            block_height: row.get("block_height")?,
            block_hash: row.get("block_hash")?,
            confirmed_txid: txid(row, "confirmed_txid")?,
            confirmed_fee: row.get("confirmed_fee")?,
            attempts: row.get("attempts")?,
        })
    }

    /// Reads an operation.
    pub(crate) fn load(tx: &TenantTx<'_>, id: OperationId) -> Result<Self, Error> {
        tx.query_opt(
            "SELECT * FROM operations WHERE tenant = :tenant AND id = :id",
            &params! { "id" => id },
            Self::from_row,
        )?
        .ok_or(Error::NotFound("operation"))
    }

    /// Whether a transaction may be on its way though no answer says so.
    pub(crate) fn may_have_been_sent(&self) -> bool {
        self.sends != self.answers
    }

    /// Whether the signed transaction is here alone: it was never sent, and no cosigner was handed our signatures.
    pub(crate) fn is_here_alone(&self) -> bool {
        self.state == OperationState::Signed && !self.may_have_been_sent() && self.missing_signers.is_none()
    }

    /// The operation as callers see it, with `tip` as the height that the wallets have followed to.
    pub(crate) fn view(&self, ballots: Vec<SignedBallot>, tip: Option<u32>) -> Operation {
        let confirmations = match (self.block_height, tip) {
            (Some(height), Some(tip)) if tip >= height => tip - height + 1,
            _ => 0,
        };
        // What confirmed, with its own fee; otherwise what was prepared, with its own.
        let shown = self.confirmed_txid.zip(self.confirmed_fee).or(self.txid.zip(self.fee));
        let transaction = shown.map(|(txid, fee)| TransactionView {
            txid: txid.to_string(),
            fee,
            confirmations,
            block_height: self.block_height,
            block_hash: self.block_hash.clone(),
            missing_signers: self.missing_signers.clone().unwrap_or_default(),
        });
        Operation {
            id: self.id,
            state: self.state,
            revision: self.revision,
            intent: self.intent.clone(),
            intent_digest: self.intent_digest,
            proposer: self.proposer,
            created_at: self.created_at,
            updated_at: self.updated_at,
            evaluation: self.evaluation.clone(),
            ballots,
            transaction,
            reason: self.reason.clone(),
        }
    }
}

fn damaged(what: &str) -> Error {
    Error::internal(format!("the {what} of a stored operation is damaged"))
}

fn txid(row: &Row<'_>, column: &str) -> Result<Option<Txid>, Error> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|_| damaged("transaction id"))).transpose()
}
