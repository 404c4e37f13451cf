//! Keys on their way to another provider.

use std::sync::Arc;

use anya_provider::{Error, KeyContext, KeySpec, KeyTemplate, Transfer, TransferOffer, TransferScheme};
use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rsa::KeySize,
    signature::KeyPair as _,
};

use super::{
    proof::AAD,
    truth::{Undeclared, not_declared},
};
use crate::{
    lab::{Home, Key, Lab, material},
    verdict::{Refusal, Stop, Verdict, fail, must, passed},
};

/// An RSA public key of this size as `SubjectPublicKeyInfo` in DER; its private key is nobody's.
pub(crate) fn rsa_offer(size: KeySize) -> Result<Vec<u8>, Stop> {
    let made = aws_lc_rs::rsa::KeyPair::generate(size).ok().and_then(|pair| {
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
        Some(der.as_ref().to_vec())
    });
    made.map_or_else(|| fail("this machine made no RSA key: nothing was shown"), Ok)
}

const TRANSFERABLE: KeyTemplate = KeyTemplate { residence: None, transferable: true };

/// A key that can leave, or nothing where keys of this sort cannot: the capabilities speak of all sorts together.
async fn transferable(lab: &Arc<Lab>, spec: KeySpec) -> Result<Option<Key>, Stop> {
    let secret = match lab.capabilities.specs.contains(&spec) {
        true => None,
        false => Some(material(&lab.new_secret(spec)?)),
    };
    match lab.try_make(Home::Subject, &lab.fresh(spec), TRANSFERABLE, secret).await? {
        Ok(key) => Ok(Some(key)),
        Err(Error::Unsupported { .. }) => Ok(None),
        Err(error) => fail(format!("make a {spec} key that can leave: {error}")),
    }
}

/// A key that can leave, of the first sort that can.
async fn any_transferable(lab: &Arc<Lab>, home: Home) -> Result<Key, Stop> {
    for spec in specs(lab, home) {
        if let Some(key) = transferable(lab, spec).await? {
            return Ok(key);
        }
    }
    fail("it declares transfers, and no key can leave it")
}

/// Schemes that can be exercised, each with the place that keys are sent to.
async fn ways(lab: &Arc<Lab>) -> Result<Vec<(TransferScheme, Home)>, Stop> {
    let declared = &lab.capabilities.transfers;
    let Some(first) = declared.first() else {
        return Err(not_declared(lab, Undeclared::Transfer(TransferScheme::RsaAesKeyWrap)).await);
    };
    let way = |scheme: &TransferScheme| {
        match (lab.peer(), scheme) {
            (Some(peer), _) if peer.capabilities().transfers.contains(scheme) => Some((*scheme, Home::Peer)),
            // A YubiHSM2 takes a key in under the object id that it had, which is in use where it came from.
            (_, TransferScheme::RsaAesKeyWrap) => Some((*scheme, Home::Subject)),
            _ => None,
        }
    };
    let ways: Vec<_> = declared.iter().filter_map(way).collect();
    if ways.is_empty() {
        return Err(Stop::NotExercised(format!("{first:?} needs a second provider that takes it")));
    }
    Ok(ways)
}

/// The key's place at the target: its own name in another provider, another name where it came from.
fn target(lab: &Lab, key: &Key, home: Home) -> KeyContext {
    match home {
        Home::Peer => KeyContext { deadline: lab.later(), ..key.ctx.clone() },
        Home::Subject => lab.fresh(key.ctx.spec),
    }
}

async fn offer(
    lab: &Lab,
    ctx: &KeyContext,
    scheme: TransferScheme,
    home: Home,
) -> Result<TransferOffer, Stop> {
    let provider = lab.at(home);
    let offer = lab.get("make an offer", ctx.deadline, provider.transfer_offer(ctx, scheme)).await?;
    must(offer.scheme == scheme, || format!("asked for {scheme:?}, it offers {:?}", offer.scheme))?;
    Ok(offer)
}

async fn wrap(lab: &Lab, key: &Key, offer: &TransferOffer) -> Result<Result<Transfer, Error>, Stop> {
    let (ctx, provider) = (lab.again(&key.ctx), lab.at(key.home));
    let call = provider.transfer_out(&ctx, &key.handle, offer.scheme, &offer.public);
    lab.answer("wrap a key", ctx.deadline, call).await
}

async fn unwrap(
    lab: &Lab,
    ctx: &KeyContext,
    home: Home,
    ticket: &[u8],
    transfer: &Transfer,
) -> Result<Result<Key, Error>, Stop> {
    let provider = lab.at(home);
    let call = provider.transfer_in(ctx, KeyTemplate::default(), ticket, transfer);
    let taken = lab.answer("take a key in", ctx.deadline, call).await?;
    Ok(taken.map(|generated| lab.keep(home, ctx, generated)))
}

/// Sorts of keys that both ends know.
fn specs(lab: &Lab, home: Home) -> Vec<KeySpec> {
    let there = lab.at(home).capabilities().clone();
    let known = |spec: &KeySpec| there.specs.contains(spec) || there.imports.contains(spec);
    lab.usable().into_iter().filter(known).collect()
}

/// The replica is the key: same public part, and what one sealed the other opens. It cannot be sent on.
pub(crate) async fn replica(lab: &Arc<Lab>) -> Verdict {
    let mut notes = Vec::new();
    for (scheme, home) in ways(lab).await? {
        for spec in specs(lab, home) {
            let Some(key) = transferable(lab, spec).await? else {
                notes.push(format!("no {spec} key can leave"));
                continue;
            };
            let ctx = target(lab, &key, home);
            let invitation = offer(lab, &ctx, scheme, home).await?;
            let transfer = match wrap(lab, &key, &invitation).await? {
                Ok(transfer) => transfer,
                Err(error) => return fail(format!("wrap a {spec} key: {error}")),
            };
            must(transfer.scheme == scheme, || "it wrapped by another scheme than asked".to_owned())?;
            let copy = match unwrap(lab, &ctx, home, &invitation.ticket, &transfer).await? {
                Ok(copy) => copy,
                Err(error) => return fail(format!("take a {spec} key in: {error}")),
            };
            same(lab, &key, &copy).await?;
            lab.works(&key).await?;
            if home == Home::Subject {
                let next = offer(lab, &target(lab, &copy, home), scheme, home).await?;
                Refusal::Confined
                    .expect(format!("send on a {spec} replica"), wrap(lab, &copy, &next).await?)?;
            }
            notes.push(format!("{spec} by {scheme:?}"));
        }
    }
    must(notes.iter().any(|note| note.contains(" by ")), || {
        "it declares transfers, and no key can leave it".to_owned()
    })?;
    passed(notes.join("; "))
}

async fn same(lab: &Arc<Lab>, key: &Key, copy: &Key) -> Result<(), Stop> {
    let spec = key.ctx.spec;
    must(key.public == copy.public, || format!("the replica of a {spec} key has another public key"))?;
    let proof = match lab.prove(&*lab.at(copy.home), &lab.again(&copy.ctx), &copy.handle).await? {
        Ok(proof) => proof,
        Err(error) => return fail(format!("use the replica of a {spec} key: {error}")),
    };
    // The original opens what the replica sealed, and its public key judges what the replica signed.
    if let Err(Stop::Failed(reason)) = lab.confirm(key, &proof).await {
        return fail(format!("the replica of a {spec} key: {reason}"));
    }
    if spec == KeySpec::Aes256 {
        let sealed = lab.encrypt(key, AAD, b"text").await?;
        let opened = lab.decrypt(copy, AAD, &sealed).await?;
        must(opened[..] == b"text"[..], || "the replica opens a ciphertext to something else".to_owned())?;
    }
    if spec == KeySpec::Bip32Seed {
        let path = crate::ask::path(&[84 | crate::ask::HARD, 1]);
        let (ours, theirs) = (lab.derive(key, &path).await?, lab.derive(copy, &path).await?);
        must(ours.xpub == theirs.xpub, || "the replica derives other keys".to_owned())?;
    }
    Ok(())
}

/// A wrapped key is taken in whole or not at all.
pub(crate) async fn tampered(lab: &Arc<Lab>) -> Verdict {
    let mut tried = 0;
    for (scheme, home) in ways(lab).await? {
        let key = any_transferable(lab, home).await?;
        let spec = key.ctx.spec;
        let ctx = target(lab, &key, home);
        let mut invitation = offer(lab, &ctx, scheme, home).await?;
        let good = match wrap(lab, &key, &invitation).await? {
            Ok(transfer) => transfer,
            Err(error) => return fail(format!("wrap a {spec} key: {error}")),
        };
        let mut altered = Vec::new();
        for part in 0..8 {
            let mut transfer = good.clone();
            let at = (good.wrapped.len().saturating_sub(1) * part) / 7;
            if let Some(byte) = transfer.wrapped.get_mut(at) {
                *byte ^= 0x10;
            }
            altered.push((format!("with a bit of byte {at} of {} altered", good.wrapped.len()), transfer));
        }
        let (cut, _) = good.wrapped.split_at(good.wrapped.len().saturating_sub(8));
        altered.push(("without its last bytes".to_owned(), Transfer { scheme, wrapped: cut.to_vec() }));
        let longer = [&good.wrapped[..], &[0; 8]].concat();
        altered.push(("with more bytes".to_owned(), Transfer { scheme, wrapped: longer }));
        altered.push(("of no bytes".to_owned(), Transfer { scheme, wrapped: Vec::new() }));
        for (what, transfer) in altered {
            let answer = unwrap(lab, &ctx, home, &invitation.ticket, &transfer).await?;
            Refusal::Wrapped.expect(format!("take in a wrapped {spec} key {what}"), answer)?;
            tried += 1;
        }
        // The refusals were for what was altered if the ticket is still good. An offer is good for one transfer, and a
        // provider may count one that failed: then nothing was shown yet, and each alteration needs an offer of its own.
        if unwrap(lab, &ctx, home, &invitation.ticket, &good).await?.is_err() {
            for part in 0..4 {
                let ctx = target(lab, &key, home);
                invitation = offer(lab, &ctx, scheme, home).await?;
                let mut transfer = match wrap(lab, &key, &invitation).await? {
                    Ok(transfer) => transfer,
                    Err(error) => return fail(format!("wrap a {spec} key: {error}")),
                };
                let at = (transfer.wrapped.len().saturating_sub(1) * part) / 3;
                if let Some(byte) = transfer.wrapped.get_mut(at) {
                    *byte ^= 0x10;
                }
                let answer = unwrap(lab, &ctx, home, &invitation.ticket, &transfer).await?;
                Refusal::Wrapped.expect(format!("take in a wrapped {spec} key altered at {at}"), answer)?;
            }
        }
        if scheme == TransferScheme::RsaAesKeyWrap {
            let ctx = target(lab, &key, home);
            let other = offer(lab, &ctx, scheme, home).await?;
            let answer = unwrap(lab, &ctx, home, &other.ticket, &good).await?;
            Refusal::Wrapped.expect(format!("take in a wrapped {spec} key by another offer"), answer)?;
            tried += 1;
        }
    }
    passed(format!("{tried} altered transfers refused"))
}

/// Offers that are none, and offers under which the key would not be safe. What is wrapped does not show the key.
pub(crate) async fn offers(lab: &Arc<Lab>) -> Verdict {
    let mut refused = 0;
    for (scheme, _) in ways(lab).await? {
        let key = any_transferable(lab, Home::Subject).await?;
        let mut bad = vec![("no bytes", vec![]), ("garbage", vec![0x5a; 400])];
        if scheme == TransferScheme::RsaAesKeyWrap {
            let good = lab.plausible_offer(scheme)?;
            bad.push(("an RSA key of 2048 bits", rsa_offer(KeySize::Rsa2048)?));
            bad.push(("an RSA key that is cut", good.get(..good.len() / 2).unwrap_or_default().to_vec()));
            wraps_unalike(lab, &good).await?;
        }
        for (what, public) in bad {
            let invitation = TransferOffer { scheme, public, ticket: vec![] };
            let answer = wrap(lab, &key, &invitation).await?;
            Refusal::Request.expect(format!("wrap a key for an offer that is {what}"), answer)?;
            refused += 1;
        }
    }
    passed(format!("{refused} offers refused"))
}

/// Wrapped twice, a key looks different each time, and never like itself.
async fn wraps_unalike(lab: &Arc<Lab>, public: &[u8]) -> Result<(), Stop> {
    let mut taken_in = None;
    for spec in lab.usable().into_iter().filter(|spec| lab.capabilities.imports.contains(spec)) {
        let (ctx, secret) = (lab.fresh(spec), lab.new_secret(spec)?);
        match lab.try_make(Home::Subject, &ctx, TRANSFERABLE, Some(material(&secret))).await? {
            Ok(key) => {
                taken_in = Some((spec, secret, key));
                break;
            }
            Err(Error::Unsupported { .. }) => (),
            Err(error) => return fail(format!("import a {spec} key that can leave: {error}")),
        }
    }
    let Some((spec, secret, key)) = taken_in else { return Ok(()) };
    let scheme = TransferScheme::RsaAesKeyWrap;
    let invitation = TransferOffer { scheme, public: public.to_vec(), ticket: vec![] };
    let mut wrapped = Vec::new();
    for _ in 0..2 {
        match wrap(lab, &key, &invitation).await? {
            Ok(transfer) => wrapped.push(transfer.wrapped),
            Err(error) => return fail(format!("wrap an imported {spec} key: {error}")),
        }
    }
    let window = secret.get(..24).unwrap_or(&secret);
    for bytes in &wrapped {
        must(!bytes.windows(window.len()).any(|piece| piece == window), || {
            format!("a wrapped {spec} key holds its secret")
        })?;
    }
    must(wrapped.first() != wrapped.get(1), || "a key wrapped twice is wrapped alike".to_owned())
}

/// Keys that may not leave, generated and imported.
pub(crate) async fn confined(lab: &Arc<Lab>) -> Verdict {
    let mut kept = 0;
    for (scheme, home) in ways(lab).await? {
        for spec in specs(lab, home) {
            let key = lab.shared(spec).await?;
            let invitation = match scheme {
                TransferScheme::RsaAesKeyWrap => {
                    TransferOffer { scheme, public: lab.plausible_offer(scheme)?, ticket: vec![] }
                }
                _ => offer(lab, &target(lab, &key, home), scheme, home).await?,
            };
            let what = format!("send a {spec} key that was not made transferable");
            match wrap(lab, &key, &invitation).await? {
                // Keys of this sort never can.
                Err(Error::Unsupported { .. }) if transferable(lab, spec).await?.is_none() => (),
                answer => drop(Refusal::Confined.expect(what, answer)?),
            }
            kept += 1;
        }
    }
    passed(format!("{kept} keys stay"))
}
