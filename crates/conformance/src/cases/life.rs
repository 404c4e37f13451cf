//! The end of a key, and of the provider.

use std::sync::Arc;

use anya_provider::{Erasure, Error, KeyTemplate, Residence};

use super::proof::AAD;
use crate::{
    lab::Lab,
    verdict::{Refusal, Stop, Verdict, fail, must, passed},
};

/// After its destruction a key works no more, where the provider is the one that could make it.
pub(crate) async fn destroyed(lab: &Arc<Lab>) -> Verdict {
    let mut notes = Vec::new();
    for spec in lab.usable() {
        let key = lab.obtain(spec, KeyTemplate::default()).await?;
        lab.works(&key).await?;
        let (ctx, provider) = (lab.again(&key.ctx), lab.provider());
        let erased = lab.get("destroy", ctx.deadline, provider.destroy(&ctx, &key.handle)).await?;
        lab.gone(&key.handle);
        let ctx = lab.again(&key.ctx);
        let answer = lab.prove(&*provider, &ctx, &key.handle).await?;
        match (erased, answer) {
            (Erasure::HandleOnly, Ok(_)) => {
                must(key.residence != Residence::Device, || {
                    format!("a {spec} key lives in the device, and destroying it erased nothing there")
                })?;
                notes.push(spec.name());
            }
            (_, answer) => {
                Refusal::Handle.expect(format!("use a destroyed {spec} key"), answer)?;
            }
        }
        let ctx = lab.again(&key.ctx);
        let again = lab.answer("destroy", ctx.deadline, provider.destroy(&ctx, &key.handle)).await?;
        if let Err(error) = again {
            return fail(format!("destroy a {spec} key that is gone already: {error}"));
        }
        let deadline = lab.later();
        let held = lab.get("inventory", deadline, provider.inventory(deadline)).await?;
        must(!held.iter().any(|held| held.key == key.ctx.key), || {
            format!("a destroyed {spec} key is still on the device's list")
        })?;
    }
    if notes.is_empty() {
        return passed("the device erases them");
    }
    passed(format!("{}: the handle is all there is, and erasing it is the keyring's part", notes.join(", ")))
}

/// Destroying one key touches no other.
pub(crate) async fn destroyed_alone(lab: &Arc<Lab>) -> Verdict {
    for spec in lab.usable() {
        if spec == anya_provider::KeySpec::Rsa3072 {
            continue;
        }
        let doomed = lab.obtain(spec, KeyTemplate::default()).await?;
        let neighbour = lab.obtain(spec, KeyTemplate::default()).await?;
        let (ctx, provider) = (lab.again(&doomed.ctx), lab.provider());
        lab.get("destroy", ctx.deadline, provider.destroy(&ctx, &doomed.handle)).await?;
        lab.gone(&doomed.handle);
        if let Err(Stop::Failed(reason)) = lab.works(&neighbour).await {
            return fail(format!("after another {spec} key was destroyed: {reason}"));
        }
    }
    for key in lab.shared_keys().await? {
        lab.works(&key).await?;
    }
    Ok(None)
}

/// Closes the provider and has it opened again.
async fn reopen(lab: &Arc<Lab>) -> Result<(), Stop> {
    let Some(reopen) = lab.reopen.clone() else {
        return Err(Stop::NotExercised("the caller gave no way to open the provider again".to_owned()));
    };
    let deadline = lab.later();
    let old = lab.provider();
    let close = async {
        old.close().await;
        Ok(())
    };
    lab.get("close", deadline, close).await?;
    let new = lab.get("open it again", lab.later(), reopen()).await?;
    must(new.id() == old.id(), || {
        format!("opened again it calls itself `{}`, and was `{}`", new.id(), old.id())
    })?;
    lab.put_provider(new);
    Ok(())
}

/// Keys made before work afterwards, under the public keys they had.
pub(crate) async fn restart(lab: &Arc<Lab>) -> Verdict {
    let keys = lab.shared_keys().await?;
    let mut sealed = Vec::new();
    for key in &keys {
        lab.works(key).await?;
        if key.ctx.spec == anya_provider::KeySpec::Aes256 {
            sealed.push((key.clone(), lab.encrypt(key, AAD, b"before").await?));
        }
    }
    reopen(lab).await?;
    for key in &keys {
        if let Err(Stop::Failed(reason)) = lab.works(key).await {
            return fail(format!("opened again: {reason}"));
        }
    }
    for (key, sealed) in &sealed {
        let opened = lab.decrypt(key, AAD, sealed).await?;
        must(opened[..] == b"before"[..], || "an old ciphertext opens to something else".to_owned())?;
    }
    must(*lab.provider().capabilities() == lab.capabilities, || {
        "opened again it declares other capabilities".to_owned()
    })?;
    if let Some(spec) = lab.capabilities.specs.first() {
        lab.generate(*spec).await?;
    }
    passed(format!("{} keys", keys.len()))
}

/// What a closed provider says of itself agrees with what it does.
pub(crate) async fn after_close(lab: &Arc<Lab>) -> Verdict {
    let Some(spec) = lab.usable().into_iter().next() else { return fail("no key can be had") };
    let key = lab.shared(spec).await?;
    let old = lab.provider();
    reopen(lab).await?;
    let deadline = lab.soon();
    let health = lab.get("health", deadline, async { Ok(old.health(deadline).await) }).await?;
    let answer = lab.prove(&*old, &lab.again(&key.ctx), &key.handle).await?;
    lab.works(&key).await?;
    match answer {
        Ok(proof) => {
            lab.confirm(&key, &proof).await?;
            must(health.ready, || "closed, it says that it is not ready, and signs".to_owned())?;
            passed("closing lets go of nothing: it still signs, and says so")
        }
        Err(Error::Unavailable { .. } | Error::Locked) => {
            must(!health.ready, || "closed, it says that it is ready, and does not sign".to_owned())?;
            passed(health.detail)
        }
        Err(error) => fail(format!("closed, it is not `unavailable`: {error}")),
    }
}
