//! Signatures over what was asked, and refusals of what cannot be asked.

use std::sync::Arc;

use anya_provider::{Algorithm, Error, KeySpec, MAX_MESSAGE, Message, SignRequest};

use crate::{
    ask::{Ask, Text, path, variants},
    lab::Lab,
    verdict::{Refusal, Stop, Verdict, fail, must, passed},
};

/// Random requests of every form of the algorithm, with every sort of key that computes it.
pub(crate) async fn cross_verify(lab: &Arc<Lab>, algorithm: Algorithm) -> Verdict {
    let (mut made, mut high) = (0, 0);
    for spec in lab.needs_algorithm(algorithm).await? {
        let key = lab.shared(spec).await?;
        let rounds = lab.samples(2, 12, lab.limits.call);
        for _ in 0..rounds {
            for variant in variants(algorithm)? {
                let (_, seen) = lab.sign(&key, &Ask::random(spec, variant)?).await?;
                made += 1;
                high += usize::from(seen.high_s);
            }
        }
    }
    if high > 0 {
        return passed(format!("{made} signatures, {high} of them high-S: the keyring normalises them"));
    }
    passed(format!("{made} signatures"))
}

/// The order of secp256k1.
pub(crate) const SECP256K1_ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
/// The order of P-256.
pub(crate) const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// The order of a curve's group, plus `offset`, which changes the last byte alone.
pub(crate) fn near_order(order: &str, offset: i8) -> Result<[u8; 32], Stop> {
    let mut bytes = [0; 32];
    if hex::decode_to_slice(order, &mut bytes).is_err() {
        return fail("the suite's own constants are damaged");
    }
    let [.., last] = &mut bytes;
    *last = last.wrapping_add_signed(offset);
    Ok(bytes)
}

/// Digests at which a device reduces, truncates or refuses when it should not.
pub(crate) async fn edge_digests(lab: &Arc<Lab>, algorithm: Algorithm) -> Verdict {
    let order = if algorithm == Algorithm::EcdsaP256 { P256_ORDER } else { SECP256K1_ORDER };
    let mut one = [0; 32];
    one[31] = 1;
    let mut top = [0; 32];
    top[0] = 0x80;
    let digests = [
        ("of zeros", [0; 32]),
        ("of ones", [0xff; 32]),
        ("one", one),
        ("of the highest bit", top),
        ("the order", near_order(order, 0)?),
        ("one below the order", near_order(order, -1)?),
        ("one above the order", near_order(order, 1)?),
    ];
    for spec in lab.needs_algorithm(algorithm).await? {
        let key = lab.shared(spec).await?;
        for variant in variants(algorithm)? {
            for (name, digest) in digests {
                if let Err(Stop::Failed(reason)) =
                    lab.sign(&key, &Ask::new(spec, variant, Text::Digest(digest))).await
                {
                    return fail(format!("a digest {name}: {reason}"));
                }
            }
        }
    }
    Ok(None)
}

/// Messages are not cut, and what is too long is said to be.
pub(crate) async fn message_lengths(lab: &Arc<Lab>) -> Verdict {
    let mut notes = Vec::new();
    let mut tried = false;
    for algorithm in [Algorithm::Ed25519, Algorithm::RsaPssSha256, Algorithm::EcdsaP256] {
        for spec in lab.specs_for(algorithm) {
            tried = true;
            let key = lab.shared(spec).await?;
            for variant in variants(algorithm)? {
                for length in
                    [0, 1, 31, 32, 33, 55, 56, 64, 111, 112, 127, 128, 1024, 4096, 65_536, MAX_MESSAGE]
                {
                    let mut text = vec![0x61; length];
                    if let Some(last) = text.last_mut() {
                        *last = 0x7a;
                    }
                    let ask = Ask::new(spec, variant, Text::Bytes(text));
                    let (ctx, provider, request) = (lab.again(&key.ctx), lab.provider(), ask.request());
                    let call = provider.sign(&ctx, &key.handle, &request);
                    let answer = lab.answer("sign a message", ctx.deadline, call).await?;
                    match answer {
                        Ok(bytes) => drop(lab.check(&key, &ask, &bytes).await?),
                        // Devices have buffers. The shortest of theirs takes two thousand bytes.
                        Err(error @ (Error::Invalid { .. } | Error::Unsupported { .. })) if length > 1024 => {
                            notes.push(format!("{spec}: {length} bytes refused: {error}"));
                            break;
                        }
                        Err(error) => return fail(format!("{spec}: a message of {length} bytes: {error}")),
                    }
                }
            }
        }
    }
    if !tried {
        return Err(
            super::truth::not_declared(lab, super::truth::Undeclared::Algorithm(Algorithm::Ed25519)).await
        );
    }
    if notes.is_empty() { passed(format!("up to {MAX_MESSAGE} bytes")) } else { passed(notes.join("; ")) }
}

/// Requests that no key of the sort can serve.
pub(crate) async fn wrong_requests(lab: &Arc<Lab>) -> Verdict {
    let mut refusals = 0;
    for key in lab.shared_keys().await? {
        let spec = key.ctx.spec;
        for algorithm in Algorithm::ALL {
            let Some(variant) = variants(algorithm)?.into_iter().next() else { continue };
            if !spec.allows(algorithm) {
                let ask = Ask::random(spec, variant)?;
                let what = format!("{variant:?} with a {spec} key");
                let ctx = lab.again(&key.ctx);
                lab.refuses_to_sign(&ctx, &key.handle, &ask.request(), Refusal::Request, &what).await?;
                refusals += 1;
                continue;
            }
            if !lab.capabilities.computes(spec, algorithm) {
                continue;
            }
            let ask = Ask::random(spec, variant)?;
            if let Some(message) = super::truth::wrong_form(algorithm) {
                let request = SignRequest { message, ..ask.request() };
                let what = match message {
                    Message::Digest(_) => format!("a digest alone, where {variant:?} takes the message"),
                    Message::Bytes(_) => format!("a message, where {variant:?} takes its digest"),
                };
                let ctx = lab.again(&key.ctx);
                lab.refuses_to_sign(&ctx, &key.handle, &request, Refusal::Request, &what).await?;
                refusals += 1;
            }
            let other = if spec == KeySpec::Bip32Seed { None } else { Some(path(&[0])) };
            let what = if other.is_some() {
                format!("a path with a {spec} key")
            } else {
                "no path with a bip32 key".to_owned()
            };
            let request = SignRequest { path: other, ..ask.request() };
            let ctx = lab.again(&key.ctx);
            lab.refuses_to_sign(&ctx, &key.handle, &request, Refusal::Request, &what).await?;
            refusals += 1;
        }
        if spec != KeySpec::Bip32Seed {
            let (ctx, provider, root) = (lab.again(&key.ctx), lab.provider(), path(&[]));
            let call = provider.derive_public(&ctx, &key.handle, &root);
            let answer = lab.answer("derive", ctx.deadline, call).await?;
            Refusal::Request.expect(format!("derive from a {spec} key"), answer)?;
        }
        if spec != KeySpec::Aes256 {
            let (ctx, provider) = (lab.again(&key.ctx), lab.provider());
            let call = provider.encrypt(&ctx, &key.handle, b"", b"text");
            let answer = lab.answer("encrypt", ctx.deadline, call).await?;
            Refusal::Request.expect(format!("encrypt with a {spec} key"), answer)?;
            refusals += 1;
        }
    }
    must(refusals > 0, || "no key was there to ask".to_owned())?;
    passed(format!("{refusals} requests refused"))
}
