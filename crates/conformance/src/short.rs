//! The suite's short form: whether a provider that has recovered may serve again.

use std::time::Instant;

use anya_primitives::TenantId;
use anya_provider::{Algorithm, Error, KeyContext, KeySpec, Provider, PublicMaterial, SignatureBytes};

use crate::{
    ask::{Ask, path, random, variants},
    judge::{Judge, Point},
    verdict::Stop,
};

/// A key that the provider holds for no other purpose than to show that it works.
#[derive(Clone, Copy, Debug)]
pub struct Canary<'a> {
    /// Which key; its deadline is not looked at.
    pub ctx: &'a KeyContext,
    /// By what the provider finds it.
    pub handle: &'a [u8],
    /// The public part, from the ledger and not from the provider.
    pub public: &'a PublicMaterial,
}

/// Why a provider must stay out.
#[derive(Debug, thiserror::Error)]
#[error("{case}: {reason}")]
pub struct Failure {
    /// What it failed, named like the cases of the suite.
    pub case: &'static str,
    /// What it did instead.
    pub reason: String,
}

/// Three uses of the canary key: two signatures over fresh random digests, each checked by two implementations, which
/// must not share a nonce; and one request in another tenant's name, which must be refused. All of it by `deadline`.
///
/// # Errors
/// The first case that fails.
pub async fn short_form(
    provider: &dyn Provider,
    canary: Canary<'_>,
    deadline: Instant,
) -> Result<(), Failure> {
    let ctx = KeyContext { deadline, ..canary.ctx.clone() };
    if ctx.spec == KeySpec::Aes256 {
        return cipher(provider, &ctx, canary.handle).await;
    }
    let algorithm = way(provider, ctx.spec)?;
    let judge = Judge::default();
    let point = point(&judge, canary.public)?;
    let mut commitments = Vec::new();
    for case in ["short/signature", "short/second-signature"] {
        let ask = ask(ctx.spec, algorithm).map_err(|stop| failure(case, stop))?;
        let bytes = sign(provider, &ctx, canary.handle, &ask, case).await?;
        let seen = judge.check(&point, &ask, &bytes).map_err(|reason| Failure { case, reason })?;
        commitments.push(seen.commitment);
    }
    if commitments.first() == commitments.get(1) {
        let reason = "signatures over two digests share their nonce".to_owned();
        return Err(Failure { case: "short/nonce", reason });
    }
    let case = "short/another-tenant";
    let ask = ask(ctx.spec, algorithm).map_err(|stop| failure(case, stop))?;
    let request = ask.request();
    let stranger = KeyContext { tenant: TenantId::new(), ..ctx };
    let answer = within(deadline, case, provider.sign(&stranger, canary.handle, &request)).await?;
    refused(case, answer)
}

async fn cipher(provider: &dyn Provider, ctx: &KeyContext, handle: &[u8]) -> Result<(), Failure> {
    let case = "short/cipher";
    let text: [u8; 32] = random().map_err(|stop| failure(case, stop))?;
    let aad = b"anya/conformance/short";
    let call = provider.encrypt(ctx, handle, aad, &text);
    let mut sealed = within(ctx.deadline, case, call).await?.map_err(|error| failed(case, &error))?;
    let call = provider.decrypt(ctx, handle, aad, &sealed);
    let opened = within(ctx.deadline, case, call).await?.map_err(|error| failed(case, &error))?;
    if opened[..] != text[..] {
        return Err(Failure { case, reason: "what was encrypted opens to something else".to_owned() });
    }
    let stranger = KeyContext { tenant: TenantId::new(), ..ctx.clone() };
    let call = provider.decrypt(&stranger, handle, aad, &sealed);
    refused("short/another-tenant", within(ctx.deadline, case, call).await?)?;
    if let Some(last) = sealed.last_mut() {
        *last ^= 1;
    }
    let case = "short/tampered";
    refused(case, within(ctx.deadline, case, provider.decrypt(ctx, handle, aad, &sealed)).await?)
}

fn way(provider: &dyn Provider, spec: KeySpec) -> Result<Algorithm, Failure> {
    let told = provider.capabilities();
    Algorithm::ALL.into_iter().find(|algorithm| told.computes(spec, *algorithm)).ok_or_else(|| Failure {
        case: "short/signature",
        reason: format!("it declares no algorithm for {spec} keys any more"),
    })
}

/// In a tree the key `m/0` signs, whose public key follows from the root's.
fn ask(spec: KeySpec, algorithm: Algorithm) -> Result<Ask, Stop> {
    let Some(variant) = variants(algorithm)?.into_iter().next() else {
        return Err(Stop::Failed("the algorithm makes no signatures".to_owned()));
    };
    let mut ask = Ask::random(spec, variant)?;
    ask.path = (spec == KeySpec::Bip32Seed).then(|| path(&[0]));
    Ok(ask)
}

fn point(judge: &Judge, public: &PublicMaterial) -> Result<Point, Failure> {
    Ok(match public {
        PublicMaterial::Secp256k1 { public_key } => Point::Curve(*public_key),
        PublicMaterial::Bip32 { xpub, .. } => {
            let child = xpub.derive_pub(judge.secp(), &path(&[0])).map_err(|error| Failure {
                case: "short/signature",
                reason: format!("the canary's extended key derives no child: {error}"),
            })?;
            Point::Curve(child.public_key)
        }
        other => Point::Other(other.clone()),
    })
}

async fn sign(
    provider: &dyn Provider,
    ctx: &KeyContext,
    handle: &[u8],
    ask: &Ask,
    case: &'static str,
) -> Result<SignatureBytes, Failure> {
    let request = ask.request();
    within(ctx.deadline, case, provider.sign(ctx, handle, &request))
        .await?
        .map_err(|error| failed(case, &error))
}

async fn within<T>(
    deadline: Instant,
    case: &'static str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<Result<T, Error>, Failure> {
    tokio::time::timeout_at(deadline.into(), call)
        .await
        .map_err(|_| Failure { case, reason: "no answer by the deadline".to_owned() })
}

/// A refusal that says nothing of the provider's own state: one that is down refuses everybody.
fn refused<T>(case: &'static str, answer: Result<T, Error>) -> Result<(), Failure> {
    match answer {
        Ok(_) => Err(Failure { case, reason: "it was done, where a refusal was due".to_owned() }),
        Err(Error::HandleDamaged | Error::Missing(_) | Error::Invalid { .. } | Error::Decrypt) => Ok(()),
        Err(error) => Err(failed(case, &error)),
    }
}

fn failed(case: &'static str, error: &Error) -> Failure {
    Failure { case, reason: error.to_string() }
}

fn failure(case: &'static str, stop: Stop) -> Failure {
    match stop {
        Stop::Failed(reason) | Stop::NotExercised(reason) | Stop::NotApplicable { because: reason, .. } => {
            Failure { case, reason }
        }
    }
}
