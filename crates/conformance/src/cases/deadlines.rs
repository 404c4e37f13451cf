//! Deadlines are kept, and callers that go away are not missed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anya_provider::{Error, KeyContext, KeySpec, KeyTemplate};

use crate::{
    ask::path,
    lab::{Home, Lab},
    verdict::{Refusal, Stop, Verdict, fail, must, passed},
};

/// Calls whose deadline has passed.
pub(crate) async fn past(lab: &Arc<Lab>) -> Verdict {
    let provider = lab.provider();
    for key in lab.shared_keys().await? {
        let over = Instant::now().checked_sub(Duration::from_millis(5)).unwrap_or_else(Instant::now);
        let spec = key.ctx.spec;
        let ctx = KeyContext { deadline: over, ..key.ctx.clone() };
        let answer = lab.prove(&*provider, &ctx, &key.handle).await?;
        Refusal::Late.expect(format!("use a {spec} key after the deadline"), answer)?;
        if spec == KeySpec::Bip32Seed {
            let (call_path, act) = (path(&[0]), "derive after the deadline");
            let call = provider.derive_public(&ctx, &key.handle, &call_path);
            Refusal::Late.expect(act, lab.answer(act, over, call).await?)?;
        }
        if lab.capabilities.specs.contains(&spec) {
            let new = KeyContext { deadline: over, ..lab.fresh(spec) };
            let answer = lab.try_make(Home::Subject, &new, KeyTemplate::default(), None).await?;
            Refusal::Late.expect(format!("generate a {spec} key after the deadline"), answer)?;
        }
    }
    Ok(None)
}

/// Calls with deadlines so short that many are missed: each is answered by then or soon after, and the provider is
/// none the worse for it.
pub(crate) async fn kept(lab: &Arc<Lab>) -> Verdict {
    let (mut done, mut late, mut down) = (0, 0, 0);
    for key in lab.shared_keys().await? {
        for wait in [1, 2, 5, 10, 20, 50] {
            let began = Instant::now();
            let ctx = KeyContext { deadline: began + Duration::from_millis(wait), ..key.ctx.clone() };
            match lab.prove(&*lab.provider(), &ctx, &key.handle).await? {
                Ok(proof) => {
                    lab.confirm(&key, &proof).await?;
                    done += 1;
                }
                Err(Error::Timeout(_)) => late += 1,
                // A device that is stopped where a call exceeds its deadline is not there for a while.
                Err(Error::Unavailable { .. }) => down += 1,
                Err(error) => {
                    return fail(format!("a {} key with {wait} ms to answer: {error}", key.ctx.spec));
                }
            }
        }
        settle(lab, &key).await?;
    }
    must(done + late + down > 0, || "no key was there to ask".to_owned())?;
    let down =
        if down > 0 { format!(", {down} met a device that was being started again") } else { String::new() };
    passed(format!("{done} answered in time, {late} refused as too late{down}"))
}

/// Calls that are dropped at various moments. What they leave behind must not be taken for a later call's answer.
pub(crate) async fn abandoned(lab: &Arc<Lab>) -> Verdict {
    for key in lab.shared_keys().await? {
        if key.ctx.spec == KeySpec::Rsa3072 {
            continue;
        }
        for wait in [0, 50, 100, 200, 500, 1000, 5000, 20_000] {
            for _ in 0..2 {
                let ctx = lab.again(&key.ctx);
                let provider = lab.provider();
                let call = lab.prove(&*provider, &ctx, &key.handle);
                let _ = tokio::time::timeout(Duration::from_micros(wait), call).await;
            }
            if let Err(Stop::Failed(reason)) = lab.works(&key).await {
                return fail(format!("after a caller that waited {wait} µs: {reason}"));
            }
        }
    }
    Ok(None)
}

/// What was cut may still be under way: the next calls wait their turn.
async fn settle(lab: &Arc<Lab>, key: &crate::lab::Key) -> Result<(), Stop> {
    match lab.works(key).await {
        Err(Stop::Failed(reason)) => fail(format!("after short deadlines: {reason}")),
        other => other,
    }
}
