//! Nonces: what makes a signature safe to publish.

use std::{collections::HashMap, sync::Arc};

use anya_provider::{Algorithm, KeySpec};

use crate::{
    arithmetic::{self, FEWEST_NONCES, Nonce, weakness},
    ask::{Ask, Text, random, variants},
    lab::{Key, Lab},
    verdict::{Stop, Verdict, fail, passed},
};

/// No commitment comes twice but for the same message by the same key, over two keys of each sort; and where a key
/// can be imported, the nonces themselves look random.
pub(crate) async fn fresh(lab: &Arc<Lab>, algorithm: Algorithm) -> Verdict {
    let mut seen: HashMap<Vec<u8>, String> = HashMap::new();
    let mut notes = Vec::new();
    for spec in lab.needs_algorithm(algorithm).await? {
        let Some(variant) = variants(algorithm)?.into_iter().next() else { continue };
        let count = lab.samples(FEWEST_NONCES, 64, lab.limits.slow / 2);
        let other = lab.obtain(spec, anya_provider::KeyTemplate::default()).await?;
        for (which, key) in [&*lab.shared(spec).await?, &other].into_iter().enumerate() {
            for _ in 0..count / 2 {
                let ask = Ask::random(spec, variant)?;
                let (_, signature) = lab.sign(key, &ask).await?;
                let by = format!("{spec} key {which}");
                if let Some(before) = seen.insert(signature.commitment, by.clone()) {
                    return fail(format!(
                        "signatures over two messages, by {before} and {by}, share their nonce"
                    ));
                }
            }
        }
        // The same message: a deterministic scheme repeats itself, but never under another key.
        let mut ask = Ask::random(spec, variant)?;
        ask.text = match ask.text {
            Text::Digest(_) => Text::Digest([0x5c; 32]),
            Text::Bytes(_) => Text::Bytes(b"one message".to_vec()),
        };
        let shared = lab.shared(spec).await?;
        let (once, again) = (lab.sign(&shared, &ask).await?.1, lab.sign(&shared, &ask).await?.1);
        let elsewhere = lab.sign(&other, &ask).await?.1;
        if elsewhere.commitment == once.commitment || elsewhere.commitment == again.commitment {
            return fail(format!("two {spec} keys share the nonce for the same message"));
        }
        let kind = if once.commitment == again.commitment { "fixed by key and message" } else { "random" };
        notes.push(format!("{spec}: {count} nonces, {kind}"));
        if lab.capabilities.imports.contains(&spec)
            && let Some(found) = opened(lab, spec, algorithm, count).await?
        {
            notes.push(found);
        }
    }
    passed(notes.join("; "))
}

/// The nonce of the signature by a secret over a digest.
type Compute = fn(&[u8; 32], &[u8; 32], &[u8]) -> Option<Nonce>;

/// The nonces of an imported key's signatures, which the suite can compute.
async fn opened(
    lab: &Arc<Lab>,
    spec: KeySpec,
    algorithm: Algorithm,
    count: usize,
) -> Result<Option<String>, Stop> {
    let compute: Compute = match (spec, algorithm) {
        (KeySpec::Secp256k1, Algorithm::EcdsaSecp256k1) => arithmetic::secp256k1_nonce,
        (KeySpec::Secp256k1, Algorithm::SchnorrSecp256k1) => arithmetic::schnorr_nonce,
        (KeySpec::P256, _) => arithmetic::p256_nonce,
        _ => return Ok(None),
    };
    let Some(variant) = variants(algorithm)?.into_iter().next() else { return Ok(None) };
    let secret = scalar()?;
    let key: Key = lab.import(spec, &secret).await?;
    let mut nonces = Vec::new();
    for _ in 0..count {
        let digest = random()?;
        let (made, _) = lab.sign(&key, &Ask::new(spec, variant, Text::Digest(digest))).await?;
        match compute(&secret, &digest, &made.0) {
            Some(nonce) => nonces.push(nonce),
            None => return fail("a signature verifies, and has no nonce"),
        }
    }
    match weakness(&nonces) {
        Some(weakness) => fail(format!("{spec}: {weakness}")),
        None => Ok(Some(format!("{spec}: {count} nonces of an imported key are of full width"))),
    }
}

/// A secret scalar of both curves.
pub(crate) fn scalar() -> Result<[u8; 32], Stop> {
    let mut secret: [u8; 32] = random()?;
    // Below both orders, and not zero.
    secret[0] = (secret[0] & 0x7f) | 1;
    Ok(secret)
}
