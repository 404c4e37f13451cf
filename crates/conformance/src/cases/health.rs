//! What the provider says of itself.

use std::sync::Arc;

use crate::{
    lab::Lab,
    verdict::{Verdict, fail, must, passed},
};

/// Its report is favourable, and a signature bears it out.
pub(crate) async fn ready(lab: &Arc<Lab>) -> Verdict {
    let deadline = lab.soon();
    let provider = lab.provider();
    let health = lab.get("health", deadline, async { Ok(provider.health(deadline).await) }).await?;
    must(health.ready, || format!("it says that it is not ready: {}", health.detail))?;
    let Some(spec) = lab.usable().into_iter().next() else {
        return fail("no sort of key is declared that computes anything");
    };
    let key = lab.shared(spec).await?;
    match lab.works(&key).await {
        Ok(()) => passed(health.detail),
        Err(crate::verdict::Stop::Failed(reason)) => {
            fail(format!("it says that it is ready, and fails: {reason}"))
        }
        Err(other) => Err(other),
    }
}
