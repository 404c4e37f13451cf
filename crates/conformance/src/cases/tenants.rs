//! A key answers to one tenant, one id, one version and one sort.

use std::sync::Arc;

use anya_primitives::KeyId;
use anya_provider::{Attestation, Error, KeyContext, KeySpec, KeyTemplate, Residence};

use super::proof::AAD;
use crate::{
    ask::path,
    lab::{Key, Lab},
    verdict::{Refusal, Stop, Verdict, fail, must, passed},
};

/// Everything that can be done with a handle but destroying the key, done in the place of `ctx`.
async fn refused(
    lab: &Arc<Lab>,
    key: &Key,
    ctx: &KeyContext,
    refusal: Refusal,
    who: &str,
) -> Result<usize, Stop> {
    let (provider, ctx, handle) = (lab.provider(), lab.again(ctx), &key.handle);
    let spec = key.ctx.spec;
    let mut acts = 1;
    let answer = lab.prove(&*provider, &ctx, handle).await?;
    refusal.expect(format!("use a {spec} key as {who}"), answer)?;
    if spec == KeySpec::Bip32Seed && ctx.spec == spec {
        let root = path(&[]);
        let call = provider.derive_public(&ctx, handle, &root);
        let answer = lab.answer("derive", ctx.deadline, call).await?;
        refusal.expect(format!("derive from a {spec} key as {who}"), answer)?;
        acts += 1;
    }
    if spec == KeySpec::Aes256 && ctx.spec == spec {
        let sealed = lab.encrypt(key, AAD, b"text").await?;
        let call = provider.decrypt(&ctx, handle, AAD, &sealed);
        let answer = lab.answer("decrypt", ctx.deadline, call).await?;
        refusal.expect(format!("decrypt with a {spec} key as {who}"), answer)?;
        acts += 1;
    }
    if let Some(scheme) = lab.capabilities.transfers.first() {
        let public = lab.plausible_offer(*scheme)?;
        let call = provider.transfer_out(&ctx, handle, *scheme, &public);
        let answer = lab.answer("transfer out", ctx.deadline, call).await?;
        // Whether a key could be moved at all may be looked at first.
        if !matches!(answer, Err(Error::NotTransferable(_) | Error::Unsupported { .. })) {
            refusal.expect(format!("transfer a {spec} key out as {who}"), answer)?;
        }
        acts += 1;
    }
    if lab.capabilities.kek_rotation {
        let answer = lab.answer("rewrap", ctx.deadline, provider.rewrap(&ctx, handle)).await?;
        refusal.expect(format!("rewrap a {spec} key as {who}"), answer)?;
        acts += 1;
    }
    if lab.capabilities.attestation != Attestation::None {
        let answer = lab.answer("attest", ctx.deadline, provider.attest(&ctx, handle, &[1; 32])).await?;
        refusal.expect(format!("attest a {spec} key as {who}"), answer)?;
        acts += 1;
    }
    Ok(acts)
}

async fn each(
    lab: &Arc<Lab>,
    who: &str,
    change: impl Fn(&KeyContext) -> KeyContext + Send + Sync,
) -> Verdict {
    let mut acts = 0;
    for key in lab.shared_keys().await? {
        acts += refused(lab, &key, &change(&key.ctx), Refusal::Handle, who).await?;
        lab.works(&key).await?;
    }
    must(acts > 0, || "no key was there to try".to_owned())?;
    passed(format!("{acts} acts refused"))
}

pub(crate) async fn another_tenant(lab: &Arc<Lab>) -> Verdict {
    let [_, stranger] = lab.tenants;
    each(lab, "another tenant's", |ctx| KeyContext { tenant: stranger, ..ctx.clone() }).await
}

pub(crate) async fn another_key(lab: &Arc<Lab>) -> Verdict {
    each(lab, "another key", |ctx| KeyContext { key: KeyId::new(), ..ctx.clone() }).await
}

pub(crate) async fn another_version(lab: &Arc<Lab>) -> Verdict {
    each(lab, "another version", |ctx| KeyContext { version: ctx.version + 1, ..ctx.clone() }).await
}

pub(crate) async fn another_spec(lab: &Arc<Lab>) -> Verdict {
    let mut acts = 0;
    for key in lab.shared_keys().await? {
        for spec in lab.usable() {
            if spec != key.ctx.spec {
                let ctx = KeyContext { spec, ..key.ctx.clone() };
                acts += refused(lab, &key, &ctx, Refusal::Request, &format!("a {spec} key")).await?;
            }
        }
        lab.works(&key).await?;
    }
    passed(format!("{acts} acts refused"))
}

/// Whatever is answered to a stranger who destroys: the key lives.
pub(crate) async fn destroy(lab: &Arc<Lab>) -> Verdict {
    let [_, stranger] = lab.tenants;
    for key in lab.shared_keys().await? {
        let strangers = [
            KeyContext { tenant: stranger, ..lab.again(&key.ctx) },
            KeyContext { key: KeyId::new(), ..lab.again(&key.ctx) },
            KeyContext { version: key.ctx.version + 1, ..lab.again(&key.ctx) },
        ];
        for ctx in strangers {
            let provider = lab.provider();
            let _ = lab.answer("destroy", ctx.deadline, provider.destroy(&ctx, &key.handle)).await?;
            if let Err(Stop::Failed(reason)) = lab.works(&key).await {
                return fail(format!("a {} key was destroyed under another's name: {reason}", key.ctx.spec));
            }
        }
    }
    Ok(None)
}

/// The device's own list, with keys of two tenants and two versions.
pub(crate) async fn inventory(lab: &Arc<Lab>) -> Verdict {
    let Some(spec) = lab.capabilities.specs.first().copied() else { return fail("it generates no keys") };
    let [owner, stranger] = lab.tenants;
    let mut keys = Vec::new();
    for (tenant, version) in [(owner, 1), (owner, 2), (stranger, 1)] {
        let ctx = KeyContext { tenant, version, ..lab.fresh(spec) };
        keys.push(lab.make(&ctx, KeyTemplate::default(), None).await?);
    }
    // One key in two versions, as after a rotation.
    if let Some(first) = keys.first().cloned() {
        let ctx = KeyContext { version: 7, ..KeyContext { deadline: lab.later(), ..first.ctx } };
        keys.push(lab.make(&ctx, KeyTemplate::default(), None).await?);
    }
    let (deadline, provider) = (lab.later(), lab.provider());
    let held = lab.get("inventory", deadline, provider.inventory(deadline)).await?;
    let mut listed = 0;
    for key in &keys {
        let ours = |held: &&anya_provider::HeldKey| {
            (held.tenant, held.key, held.version) == (key.ctx.tenant, key.ctx.key, key.ctx.version)
        };
        let entries = held.iter().filter(ours).count();
        must(entries <= 1, || format!("a {spec} key is listed {entries} times"))?;
        must(entries == 1 || key.residence != Residence::Device, || {
            format!("a {spec} key that lives in the device is not listed under its tenant, id and version")
        })?;
        must(entries == 0 || held.iter().filter(ours).all(|held| held.handle == key.handle), || {
            format!("the list has another handle for a {spec} key than the one it was given")
        })?;
        let strangers =
            held.iter().filter(|held| held.handle == key.handle).filter(|held| !ours(held)).count();
        must(strangers == 0, || format!("the list gives a {spec} key's handle to another key"))?;
        listed += entries;
    }
    passed(if listed == 0 { "its keys are in their handles: it lists none" } else { "each is listed once" })
}
