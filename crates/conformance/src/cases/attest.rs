//! Evidence of where keys live. Whether it proves anything is decided where it is verified.

use std::sync::Arc;

use anya_provider::{Attestation, Evidence, PublicMaterial};

use super::truth::{Undeclared, not_declared};
use crate::{
    lab::{Key, Lab},
    verdict::{Stop, Verdict, must, passed},
};

async fn evidence(lab: &Arc<Lab>, key: &Key, nonce: &[u8; 32]) -> Result<Evidence, Stop> {
    let (ctx, provider) = (lab.again(&key.ctx), lab.provider());
    let act = format!("attest a {} key", key.ctx.spec);
    lab.get(&act, ctx.deadline, provider.attest(&ctx, &key.handle, nonce)).await
}

async fn keys(lab: &Arc<Lab>) -> Result<Vec<Arc<Key>>, Stop> {
    if lab.capabilities.attestation == Attestation::None {
        return Err(not_declared(lab, Undeclared::Attestation).await);
    }
    lab.shared_keys().await
}

/// What comes is what the capabilities say.
pub(crate) async fn kind(lab: &Arc<Lab>) -> Verdict {
    let mut count = 0;
    for key in keys(lab).await? {
        let made = evidence(lab, &key, &crate::ask::random()?).await?;
        let (right, sound) = match (&made, lab.capabilities.attestation) {
            (Evidence::Claims { claims }, Attestation::Claims) => (true, !claims.is_empty()),
            (Evidence::Certificate { chain }, Attestation::Certificate) => {
                // Each certificate is one DER sequence.
                (true, !chain.is_empty() && chain.iter().all(|der| der.0.first() == Some(&0x30)))
            }
            (Evidence::Dcap { quote: bytes } | Evidence::Nitro { document: bytes }, Attestation::Quote)
            | (Evidence::Simulated { statement: bytes }, Attestation::Simulated) => {
                (true, !bytes.0.is_empty())
            }
            _ => (false, false),
        };
        must(right, || {
            format!("evidence of another kind than the declared `{:?}`", lab.capabilities.attestation)
        })?;
        must(sound, || format!("the evidence about a {} key is empty or malformed", key.ctx.spec))?;
        count += 1;
    }
    if let Some(note) = claims_of_an_import(lab).await? {
        return passed(format!("{count} keys; {note}"));
    }
    passed(format!("{count} keys"))
}

/// Devices exist that say of an imported key that it never left them: claims are worth that much.
async fn claims_of_an_import(lab: &Arc<Lab>) -> Result<Option<String>, Stop> {
    let Some(spec) = lab.usable().into_iter().find(|spec| lab.capabilities.imports.contains(spec)) else {
        return Ok(None);
    };
    let key = lab.import(spec, &lab.new_secret(spec)?).await?;
    let Evidence::Claims { claims } = evidence(lab, &key, &crate::ask::random()?).await? else {
        return Ok(None);
    };
    let said = |name: &&str| claims.get(*name).is_some_and(|value| value == "true");
    let false_claims: Vec<_> =
        ["CKA_LOCAL", "CKA_ALWAYS_SENSITIVE", "CKA_NEVER_EXTRACTABLE"].into_iter().filter(said).collect();
    if false_claims.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!("of an imported {spec} key the device claims {}", false_claims.join(", "))))
}

/// Evidence that can hold a nonce is made for the nonce.
pub(crate) async fn nonce(lab: &Arc<Lab>) -> Verdict {
    let keys = keys(lab).await?;
    if !matches!(lab.capabilities.attestation, Attestation::Quote | Attestation::Simulated) {
        let because = format!("evidence of the kind `{:?}` holds no nonce", lab.capabilities.attestation);
        return Err(Stop::NotApplicable { because, answered: None });
    }
    for key in keys {
        let (one, other) = (crate::ask::random()?, crate::ask::random()?);
        let (first, second) = (evidence(lab, &key, &one).await?, evidence(lab, &key, &other).await?);
        must(first != second, || {
            format!("two nonces, one evidence about a {} key: it can be replayed", key.ctx.spec)
        })?;
    }
    Ok(None)
}

fn public_bytes(public: &PublicMaterial) -> Option<Vec<u8>> {
    Some(match public {
        PublicMaterial::Secp256k1 { public_key } => {
            public_key.serialize_uncompressed().get(1..33).unwrap_or_default().to_vec()
        }
        PublicMaterial::P256 { public_key } => public_key.get(1..33).unwrap_or_default().to_vec(),
        PublicMaterial::Ed25519 { public_key } => public_key.to_vec(),
        PublicMaterial::Rsa3072 { public_key } => public_key.get(9..41).unwrap_or_default().to_vec(),
        PublicMaterial::Bip32 { .. } | PublicMaterial::Aes256 => return None,
    })
}

/// A certificate names the public key; other evidence differs from key to key.
pub(crate) async fn names_the_key(lab: &Arc<Lab>) -> Verdict {
    let keys = keys(lab).await?;
    let nonce = crate::ask::random()?;
    let mut all = Vec::new();
    for key in keys {
        let made = evidence(lab, &key, &nonce).await?;
        if let (Evidence::Certificate { chain }, Some(public)) = (&made, public_bytes(&key.public)) {
            let leaf = chain.first().map(|der| der.0.as_slice()).unwrap_or_default();
            must(leaf.windows(public.len()).any(|piece| piece == public), || {
                format!("the certificate for a {} key does not hold its public key", key.ctx.spec)
            })?;
        }
        must(!all.contains(&made), || "two keys have the same evidence".to_owned())?;
        all.push(made);
    }
    Ok(None)
}
