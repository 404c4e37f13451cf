//! Signatures from outside: a PSBT comes back, what holds is merged, and a complete transaction goes on its way.

use anya_api::operation::{OperationState, PsbtDocument};
use anya_primitives::{Actor, OperationId, TenantId};

use super::{
    crash,
    payment::{psbt_of, signed_in_full, wallet_of},
};
use crate::{
    Error, Treasury,
    operation::{
        record::Record,
        transition::{self, Step},
    },
};

impl Treasury {
    /// Takes in a PSBT from an outside cosigner.
    pub(crate) async fn take_psbt(
        &self,
        tenant: TenantId,
        actor: Actor,
        id: OperationId,
        document: PsbtDocument,
    ) -> Result<(), Error> {
        let record = self.inner.ledger.read(tenant, move |tx| Record::load(tx, id)).await?;
        if record.state != OperationState::AwaitingSignatures {
            let message = format!("the operation is {}; it takes no signatures", record.state.name());
            return Err(Error::Conflict(message));
        }
        let now = self.now();
        if record.expires_at <= now {
            return Err(Error::Conflict("the operation has expired".to_owned()));
        }
        let wallet = wallet_of(&record.intent)?;
        let wallets = &self.inner.wallets;
        let theirs = anya_wallet::parse_psbt(&document.psbt)?;
        let merged = wallets.combine(tenant, wallet, &psbt_of(&record)?, &theirs).await?;
        // Checked again as before the first signature: nothing but signatures may have come in.
        let terms = self.terms(tenant, &record).await?;
        wallets.check(tenant, wallet, &merged.psbt, &terms).await?;
        let step = if merged.complete {
            let transaction = wallets.finalize(tenant, wallet, &merged.psbt, &terms).await?;
            Step { actor, ..signed_in_full(&record, &transaction, &merged.psbt, false, now)? }
        } else {
            if psbt_of(&record)? == merged.psbt {
                return Err(Error::invalid("psbt", "holds no signature that was missing"));
            }
            Step {
                due_at: record.expires_at,
                ..Step::new(OperationState::AwaitingSignatures, actor, "operation.signatures_added", now)
                    .telling(serde_json::json!({ "missing_signers": merged.missing }))
                    .with("psbt", merged.psbt.to_string())
                    .with("missing_signers", anya_store::json(&merged.missing)?)
            }
        };
        self.inner.ledger.write(tenant, move |tx| transition::apply(tx, now, &record, step)).await?;
        crash::point("import:recorded");
        Ok(())
    }
}
