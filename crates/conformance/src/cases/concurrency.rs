//! Many callers at once.

use std::{collections::HashSet, sync::Arc, time::Duration};

use anya_provider::{Error, KeyContext, KeySpec, KeyTemplate};
use tokio::task::JoinSet;

use super::proof::Proof;
use crate::{
    lab::{Home, Key, Lab},
    verdict::{Stop, Verdict, fail, must, passed},
};

/// Callers at once.
const CALLERS: usize = 32;

/// A use of `key`, tried again for as long as the provider says that it is busy.
async fn insist(lab: &Lab, key: &Key) -> Result<(Proof, usize), Stop> {
    let ctx = KeyContext { deadline: lab.later(), ..key.ctx.clone() };
    let mut refusals = 0;
    loop {
        match lab.prove(&*lab.at(key.home), &ctx, &key.handle).await? {
            Ok(proof) => return Ok((proof, refusals)),
            Err(Error::Busy(_)) if std::time::Instant::now() < ctx.deadline => {
                refusals += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => {
                return fail(format!("a {} key, used by {CALLERS} callers at once: {error}", key.ctx.spec));
            }
        }
    }
}

async fn all<T: Send + 'static>(mut tasks: JoinSet<Result<T, Stop>>) -> Result<Vec<T>, Stop> {
    let mut results = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(result) => results.push(result?),
            Err(_) => return fail("the provider panicked"),
        }
    }
    Ok(results)
}

/// Keys of every sort, two of the commonest, used by all callers in turn.
pub(crate) async fn signatures(lab: &Arc<Lab>) -> Verdict {
    let mut keys = lab.shared_keys().await?;
    if let Some(spec) = lab.usable().first() {
        keys.push(Arc::new(lab.obtain(*spec, KeyTemplate::default()).await?));
    }
    let keys = Arc::new(keys);
    let each = lab.samples(CALLERS, CALLERS * 8, lab.limits.slow / 4) / CALLERS;
    let mut tasks = JoinSet::new();
    for caller in 0..CALLERS {
        let (lab, keys) = (lab.clone(), keys.clone());
        tasks.spawn(async move {
            let mut made = Vec::new();
            for round in 0..each {
                let at = (caller + round) % keys.len().max(1);
                let Some(key) = keys.get(at) else { continue };
                let (proof, busy) = insist(&lab, key).await?;
                made.push((at, proof, busy));
            }
            Ok(made)
        });
    }
    let mut busy = 0;
    let mut count = 0;
    for (at, proof, refusals) in all(tasks).await?.into_iter().flatten() {
        let Some(key) = keys.get(at) else { continue };
        if let Err(Stop::Failed(reason)) = lab.confirm(key, &proof).await {
            return fail(format!("with {CALLERS} callers at once: {reason}"));
        }
        busy += refusals;
        count += 1;
    }
    must(count > 0, || "no key was there to use".to_owned())?;
    if busy > 0 {
        return passed(format!("{count} uses; it was busy {busy} times, and said so"));
    }
    passed(format!("{count} uses"))
}

/// Keys of one sort, generated at once.
pub(crate) async fn keys(lab: &Arc<Lab>) -> Verdict {
    let quick = lab
        .capabilities
        .specs
        .iter()
        .copied()
        .find(|spec| !matches!(spec, KeySpec::Rsa3072 | KeySpec::Aes256) && lab.way(*spec).is_some());
    let Some(spec) = quick.or_else(|| lab.capabilities.specs.first().copied()) else {
        return fail("it generates no keys");
    };
    let room = lab.capabilities.max_keys.map_or(CALLERS, |keys| usize::try_from(keys / 4).unwrap_or(CALLERS));
    let count = room.clamp(2, CALLERS);
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let lab = lab.clone();
        tasks.spawn(async move {
            let ctx = lab.fresh(spec);
            loop {
                match lab.try_make(Home::Subject, &ctx, KeyTemplate::default(), None).await? {
                    Ok(key) => return Ok(key),
                    Err(Error::Busy(_)) if std::time::Instant::now() < ctx.deadline => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Err(error) => return fail(format!("{spec} keys, made at once: {error}")),
                }
            }
        });
    }
    let keys: Vec<Key> = all(tasks).await?;
    let publics: HashSet<String> = keys.iter().map(|key| format!("{:?}", key.public)).collect();
    must(publics.len() == keys.len() || spec == KeySpec::Aes256, || {
        format!("{} keys made at once have {} public keys", keys.len(), publics.len())
    })?;
    for key in &keys {
        if let Err(Stop::Failed(reason)) = lab.works(key).await {
            return fail(format!("of {count} {spec} keys made at once one is lost: {reason}"));
        }
    }
    passed(format!("{count} {spec} keys"))
}
