//! Handles that are not the key's.

use std::sync::Arc;

use anya_provider::{KeyContext, KeySpec, KeyTemplate};

use crate::{
    ask::random,
    lab::{Key, Lab, material},
    verdict::{Refusal, Stop, Verdict, must, passed},
};

async fn refused(lab: &Arc<Lab>, ctx: &KeyContext, handle: &[u8], what: String) -> Result<(), Stop> {
    let provider = lab.provider();
    let ctx = lab.again(ctx);
    let answer = lab.prove(&*provider, &ctx, handle).await?;
    Refusal::Handle.expect(what, answer).map(drop)
}

/// Bytes that no provider made.
pub(crate) async fn garbage(lab: &Arc<Lab>) -> Verdict {
    for key in lab.shared_keys().await? {
        let length = key.handle.len();
        let mut random_same = vec![0; length];
        for chunk in random_same.chunks_mut(32) {
            chunk.copy_from_slice(random::<32>()?.get(..chunk.len()).unwrap_or_default());
        }
        let all = [
            ("no bytes", vec![]),
            ("one byte", vec![1]),
            ("zeros", vec![0; length]),
            ("ones", vec![0xff; length]),
            ("random bytes", random_same),
            ("64 KiB", vec![0x41; 65_536]),
        ];
        for (what, handle) in all {
            refused(lab, &key.ctx, &handle, format!("{what} as the handle of a {} key", key.ctx.spec))
                .await?;
        }
        lab.works(&key).await?;
    }
    Ok(None)
}

/// The key's own handle, not quite.
pub(crate) async fn altered(lab: &Arc<Lab>) -> Verdict {
    let mut tried = 0;
    for key in lab.shared_keys().await? {
        let (handle, spec) = (&key.handle, key.ctx.spec);
        let (short, _) = handle.split_at(handle.len().saturating_sub(1));
        let (half, _) = handle.split_at(handle.len() / 2);
        refused(lab, &key.ctx, short, format!("a {spec} handle without its last byte")).await?;
        refused(lab, &key.ctx, half, format!("half a {spec} handle")).await?;
        refused(lab, &key.ctx, &[handle, &[0][..]].concat(), format!("a {spec} handle and a byte")).await?;
        refused(lab, &key.ctx, &[handle, &handle[..]].concat(), format!("a {spec} handle twice")).await?;
        let step = (handle.len() / 64).max(1);
        for at in (0..handle.len()).step_by(step) {
            let mut flipped = handle.clone();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 1 << (at % 8);
            }
            let what = format!("a {spec} handle with a bit of byte {at} of {} altered", handle.len());
            refused(lab, &key.ctx, &flipped, what).await?;
            tried += 1;
        }
    }
    passed(format!("{tried} altered handles refused"))
}

/// A good handle in the place of another.
pub(crate) async fn another_key(lab: &Arc<Lab>) -> Verdict {
    for spec in lab.usable() {
        if spec == KeySpec::Rsa3072 {
            continue;
        }
        let one = lab.shared(spec).await?;
        let other = lab.obtain(spec, KeyTemplate::default()).await?;
        must(one.handle != other.handle, || format!("two {spec} keys have one handle"))?;
        refused(lab, &one.ctx, &other.handle, format!("a {spec} key's handle for another's")).await?;
        refused(lab, &other.ctx, &one.handle, format!("a {spec} key's handle for another's")).await?;
    }
    Ok(None)
}

/// The handle goes into the ledger, and into its backups.
pub(crate) async fn holds_no_secret(lab: &Arc<Lab>) -> Verdict {
    let mut searched = Vec::new();
    for spec in lab.capabilities.imports.clone() {
        let secret = lab.new_secret(spec)?;
        let ctx = lab.fresh(spec);
        let key: Key = lab.make(&ctx, KeyTemplate::default(), Some(material(&secret))).await?;
        let window = secret.get(secret.len().saturating_sub(24)..).unwrap_or_default();
        let there = |text: &[u8]| key.handle.windows(text.len()).any(|piece| piece == text);
        must(!there(window) && !there(hex::encode(window).as_bytes()), || {
            format!("the handle of an imported {spec} key holds its secret")
        })?;
        searched.push(spec.name());
    }
    if searched.is_empty() {
        return Err(
            super::truth::not_declared(lab, super::truth::Undeclared::Import(KeySpec::Secp256k1)).await
        );
    }
    passed(searched.join(", "))
}
