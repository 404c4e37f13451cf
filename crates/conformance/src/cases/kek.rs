//! The sealing key is renewed.

use std::sync::Arc;

use anya_provider::{KekStatus, KeyTemplate, Residence, Rewrapped};
use secrecy::SecretString;

use super::truth::{Undeclared, not_declared};
use crate::{
    lab::{Key, Lab},
    subject::KekLeave,
    verdict::{Refusal, Stop, Verdict, fail, must, passed},
};

async fn rotate(lab: &Arc<Lab>, before: &KekStatus) -> Result<KekStatus, Stop> {
    let KekLeave::Renew { passphrase } = lab.kek.clone() else {
        let because = "the caller gave no leave to renew the sealing key".to_owned();
        return Err(Stop::NotExercised(because));
    };
    let (deadline, provider) = (lab.later(), lab.provider());
    let after = lab.get("renew the sealing key", deadline, provider.rotate_kek(passphrase, deadline)).await?;
    must(!before.generations.contains(&after.current), || "the sealing key was not renewed".to_owned())?;
    must(after.generations.last() == Some(&after.current), || {
        "the current generation is not the last of the list".to_owned()
    })?;
    must(before.generations.iter().all(|old| after.generations.contains(old)), || {
        "renewing the sealing key lost a generation".to_owned()
    })?;
    Ok(after)
}

async fn rewrap(lab: &Arc<Lab>, key: &Key) -> Result<Rewrapped, Stop> {
    let (ctx, provider) = (lab.again(&key.ctx), lab.provider());
    lab.get("wrap a handle again", ctx.deadline, provider.rewrap(&ctx, &key.handle)).await
}

/// Two renewals: keys of the first generation are wrapped again under the second, then the first is retired. What
/// was there before the suite keeps its own generation.
pub(crate) async fn rotation(lab: &Arc<Lab>) -> Verdict {
    if !lab.capabilities.kek_rotation {
        return Err(not_declared(lab, Undeclared::Kek).await);
    }
    let (deadline, provider) = (lab.later(), lab.provider());
    let original = lab.get("tell the generations", deadline, provider.kek_status(deadline)).await?;
    must(original.generations.last() == Some(&original.current), || {
        "the current generation is not the last of the list".to_owned()
    })?;
    let before = lab.shared_keys().await?;
    wrong_passphrase(lab, &original).await?;
    let first = rotate(lab, &original).await?;
    let mut keys = Vec::new();
    for spec in lab.usable() {
        keys.push(lab.obtain(spec, KeyTemplate::default()).await?);
    }
    let second = rotate(lab, &first).await?;
    let mut renewed = Vec::new();
    for key in &keys {
        lab.works(key).await?;
        match rewrap(lab, key).await? {
            Rewrapped::Handle(handle) => {
                let new = Key { handle, ..key.clone() };
                lab.works(&new).await?;
                lab.works(key).await?;
                must(matches!(rewrap(lab, &new).await?, Rewrapped::Current), || {
                    format!("a {} handle is never said to be current", key.ctx.spec)
                })?;
                renewed.push((key.clone(), new));
            }
            Rewrapped::Current => must(key.residence == Residence::Device, || {
                format!("an old {} handle is said to be wrapped under the new sealing key", key.ctx.spec)
            })?,
        }
    }
    for key in &before {
        lab.works(key).await?;
    }
    retire(lab, &first, &second).await?;
    for (old, new) in &renewed {
        if let Err(Stop::Failed(reason)) = lab.works(new).await {
            return fail(format!("after the old generation was retired: {reason}"));
        }
        let answer = lab.prove(&*provider, &lab.again(&old.ctx), &old.handle).await?;
        Refusal::Handle.expect(format!("use a {} handle of a retired generation", old.ctx.spec), answer)?;
    }
    for key in &before {
        lab.works(key).await?;
    }
    passed(format!("{} handles wrapped again", renewed.len()))
}

/// Where a passphrase is needed, another does nothing.
async fn wrong_passphrase(lab: &Arc<Lab>, before: &KekStatus) -> Result<(), Stop> {
    if !matches!(lab.kek, KekLeave::Renew { passphrase: Some(_) }) {
        return Ok(());
    }
    let (deadline, provider) = (lab.later(), lab.provider());
    let wrong = Some(SecretString::from("not the passphrase of any keystore"));
    let call = provider.rotate_kek(wrong, deadline);
    must(lab.answer("renew the sealing key", deadline, call).await?.is_err(), || {
        "the sealing key was renewed with a wrong passphrase".to_owned()
    })?;
    let after = lab.get("tell the generations", deadline, provider.kek_status(deadline)).await?;
    must(after == *before, || "a wrong passphrase changed the generations".to_owned())
}

async fn retire(lab: &Arc<Lab>, first: &KekStatus, second: &KekStatus) -> Result<(), Stop> {
    let KekLeave::Renew { passphrase } = lab.kek.clone() else { return Ok(()) };
    let (deadline, provider) = (lab.later(), lab.provider());
    let call = provider.retire_kek(second.current, passphrase.clone(), deadline);
    if lab.answer("retire the current generation", deadline, call).await?.is_ok() {
        return fail("it retired the current generation of its sealing key");
    }
    let call = provider.retire_kek(first.current, passphrase, deadline);
    let after = lab.get("retire a generation", deadline, call).await?;
    must(!after.generations.contains(&first.current) && after.current == second.current, || {
        "the retired generation is still there, or another one is gone".to_owned()
    })
}
