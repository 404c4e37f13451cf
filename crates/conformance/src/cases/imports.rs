//! Secrets from outside: what is taken, and what is not.

use std::sync::Arc;

use anya_provider::{ImportMaterial, KeySpec, KeyTemplate};
use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{
    nonces::scalar,
    sign::{P256_ORDER, SECP256K1_ORDER, near_order},
};
use crate::{
    ask::random,
    data::ABOUT,
    lab::{Home, Lab, material},
    verdict::{Refusal, Stop, Verdict, fail, must, passed},
};

/// A new secret of that sort, in the form in which it is imported.
pub(crate) fn new_secret(spec: KeySpec) -> Result<Zeroizing<Vec<u8>>, Stop> {
    Ok(Zeroizing::new(match spec {
        KeySpec::Secp256k1 | KeySpec::P256 => scalar()?.to_vec(),
        KeySpec::Bip32Seed => random::<64>()?.to_vec(),
        KeySpec::Ed25519 | KeySpec::Aes256 => random::<32>()?.to_vec(),
        KeySpec::Rsa3072 => return rsa(KeySize::Rsa3072).map(|(der, _)| der),
    }))
}

/// An RSA key made here: PKCS#8 and `RSAPublicKey`, both in DER.
pub(crate) fn rsa(size: KeySize) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Stop> {
    use aws_lc_rs::signature::KeyPair as _;
    let made = KeyPair::generate(size).ok().and_then(|pair| {
        let der: Pkcs8V1Der<'_> = pair.as_der().ok()?;
        Some((Zeroizing::new(der.as_ref().to_vec()), pair.public_key().as_ref().to_vec()))
    });
    made.map_or_else(|| fail("this machine made no RSA key: nothing was shown"), Ok)
}

fn bad_secrets(spec: KeySpec) -> Result<Vec<(&'static str, Vec<u8>)>, Stop> {
    let order = if spec == KeySpec::P256 { P256_ORDER } else { SECP256K1_ORDER };
    Ok(match spec {
        KeySpec::Secp256k1 | KeySpec::P256 => vec![
            ("zero", vec![0; 32]),
            ("the order", near_order(order, 0)?.to_vec()),
            ("one above the order", near_order(order, 1)?.to_vec()),
            ("all ones", vec![0xff; 32]),
            ("31 bytes", random::<31>()?.to_vec()),
            ("33 bytes", random::<33>()?.to_vec()),
            ("33 bytes that begin with zero", [&[0], &scalar()?[..]].concat()),
            ("no bytes", vec![]),
        ],
        KeySpec::Bip32Seed => vec![
            ("15 bytes", random::<15>()?.to_vec()),
            ("65 bytes", random::<65>()?.to_vec()),
            ("no bytes", vec![]),
        ],
        KeySpec::Ed25519 | KeySpec::Aes256 => vec![
            ("16 bytes", random::<16>()?.to_vec()),
            ("31 bytes", random::<31>()?.to_vec()),
            ("33 bytes", random::<33>()?.to_vec()),
            ("64 bytes", random::<64>()?.to_vec()),
            ("no bytes", vec![]),
        ],
        KeySpec::Rsa3072 => vec![
            ("2048 bits", rsa(KeySize::Rsa2048)?.0.to_vec()),
            ("no DER", random::<64>()?.to_vec()),
            ("no bytes", vec![]),
        ],
    })
}

/// Whether `error` repeats a piece of the secret.
fn repeats(error: &str, secret: &[u8]) -> bool {
    secret.len() >= 8 && error.contains(&hex::encode(secret.get(..8).unwrap_or_default()))
}

/// What is no key of the sort. A refusal must not carry the secret: it may have been a good one, typed badly.
pub(crate) async fn refused(lab: &Arc<Lab>) -> Verdict {
    let mut count = 0;
    if lab.capabilities.imports.is_empty() {
        return Err(
            super::truth::not_declared(lab, super::truth::Undeclared::Import(KeySpec::Secp256k1)).await
        );
    }
    for spec in lab.capabilities.imports.clone() {
        for (what, secret) in bad_secrets(spec)? {
            let what = format!("a {spec} key of {what}");
            let refusal = refuse(lab, spec, material(&secret), &what).await?;
            must(!repeats(&refusal, &secret), || format!("{what}: the refusal repeats the secret"))?;
            count += 1;
        }
        let phrase = |text: &str| ImportMaterial::Mnemonic {
            phrase: SecretString::from(text.to_owned()),
            passphrase: None,
        };
        if spec == KeySpec::Bip32Seed {
            for (what, text) in [
                ("a phrase with a wrong checksum", ABOUT.replacen("abandon", "zoo", 1)),
                ("a phrase with a word that is none", ABOUT.replacen("abandon", "abandom", 1)),
                ("a phrase of eleven words", ABOUT.replacen("abandon ", "", 1)),
                ("an empty phrase", String::new()),
            ] {
                let refusal = refuse(lab, spec, phrase(&text), what).await?;
                must(!refusal.contains("abando"), || format!("{what}: the refusal repeats words of it"))?;
                count += 1;
            }
        } else {
            refuse(lab, spec, phrase(ABOUT), &format!("a phrase for a {spec} key")).await?;
            count += 1;
        }
    }
    passed(format!("{count} secrets refused"))
}

async fn refuse(lab: &Arc<Lab>, spec: KeySpec, secret: ImportMaterial, what: &str) -> Result<String, Stop> {
    let ctx = lab.fresh(spec);
    let answer = lab.try_make(Home::Subject, &ctx, KeyTemplate::default(), Some(secret)).await?;
    Refusal::Secret.expect(what, answer)
}
