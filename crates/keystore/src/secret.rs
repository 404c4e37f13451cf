//! What is done with a secret once it is in the clear. Called on the pool's threads only.
//!
//! A secret's sealed form: secp256k1, Ed25519 and AES keys are their 32 bytes; a BIP32 root is its seed; a P-256
//! key is its scalar and its public point (65 bytes); an RSA key is PKCS#8 in DER.

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey as AgreementKey},
    digest::{Digest, SHA256},
    encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PSS_SHA256,
    },
};
use bitcoin::{
    NetworkKind,
    bip32::{DerivationPath, Xpriv, Xpub},
    key::TapTweak as _,
    secp256k1::{All, Keypair, Message as CurveMessage, Secp256k1, SecretKey},
};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::{
    aead::{KEY, fill_random},
    bip32, mnemonic,
    pool::Worker,
};
use anya_provider::{
    DerivedPublic, Error, ImportMaterial, KeySpec, PublicMaterial, Result, SignAlgorithm, TapTweak,
};

/// A secret in its sealed form's layout, before sealing or after opening.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// What is signed, owned by the job.
pub(crate) enum Text {
    Digest([u8; 32]),
    Bytes(Vec<u8>),
}

/// Bytes of an RSA modulus.
const RSA_BYTES: usize = 384;
const P256_SCALAR: usize = 32;

fn damaged<E>(_: E) -> Error {
    Error::HandleDamaged
}

fn signing_failed<E>(_: E) -> Error {
    Error::Internal("signing failed")
}

/// A new secret of this sort.
pub(crate) fn generate(spec: KeySpec) -> Result<Secret> {
    let failed = |_| Error::Internal("key generation failed");
    let random = |length: usize| {
        let mut secret = Zeroizing::new(vec![0; length]);
        fill_random(&mut secret).map(|()| secret)
    };
    match spec {
        KeySpec::Secp256k1 => loop {
            let secret = random(32)?;
            // All but 2^-128 of the candidates lie below the curve's order.
            if let Ok(mut key) = SecretKey::from_slice(&secret) {
                key.non_secure_erase();
                return Ok(secret);
            }
        },
        KeySpec::Bip32Seed => random(64),
        KeySpec::Ed25519 | KeySpec::Aes256 => random(32),
        KeySpec::P256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
            let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().map_err(failed)?;
            Ok(p256_layout(scalar.as_ref(), pair.public_key().as_ref()))
        }
        KeySpec::Rsa3072 => rsa_layout(&RsaKeyPair::generate(KeySize::Rsa3072).map_err(failed)?),
    }
}

/// A secret from outside, checked.
pub(crate) fn import(spec: KeySpec, material: &ImportMaterial) -> Result<Secret> {
    match material {
        ImportMaterial::Mnemonic { phrase, passphrase } => {
            if spec != KeySpec::Bip32Seed {
                return Err(Error::WrongSpec { spec, act: "be imported from a mnemonic: use spec bip32" });
            }
            checked(spec, mnemonic::seed_of(phrase, passphrase.as_ref())?)
        }
        ImportMaterial::Secret(bytes) => checked(spec, Zeroizing::new(bytes.expose_secret().to_vec())),
    }
}

/// A secret in the form in which it is imported, checked and laid out as it is sealed.
pub(crate) fn checked(spec: KeySpec, bytes: Secret) -> Result<Secret> {
    let refuse = |reason: &str| Err(Error::invalid("secret", reason));
    match spec {
        KeySpec::Secp256k1 => match SecretKey::from_slice(&bytes) {
            Ok(mut key) => key.non_secure_erase(),
            Err(_) => return refuse("it is not a scalar of secp256k1: 32 bytes, not zero, below the order"),
        },
        KeySpec::Bip32Seed if !(16..=64).contains(&bytes.len()) => {
            return refuse("a seed has 16 to 64 bytes (BIP32)");
        }
        KeySpec::Ed25519 | KeySpec::Aes256 if bytes.len() != 32 => return refuse("32 bytes are needed"),
        KeySpec::P256 => {
            let Ok(key) = AgreementKey::from_private_key(&ECDH_P256, &bytes) else {
                return refuse("it is not a scalar of P-256: 32 bytes, not zero, below the order");
            };
            let point = key
                .compute_public_key()
                .map_err(|_| Error::Internal("no public point for a P-256 scalar"))?;
            return Ok(p256_layout(&bytes, point.as_ref()));
        }
        KeySpec::Rsa3072 => match RsaKeyPair::from_pkcs8(&bytes) {
            // Written anew: what was accepted may carry attributes, or more than one key's worth of bytes.
            Ok(pair) if pair.public_modulus_len() == RSA_BYTES => return rsa_layout(&pair),
            _ => return refuse("it is not PKCS#8 in DER of an RSA key of 3072 bits"),
        },
        KeySpec::Bip32Seed | KeySpec::Ed25519 | KeySpec::Aes256 => (),
    }
    Ok(bytes)
}

fn rsa_layout(pair: &RsaKeyPair) -> Result<Secret> {
    let der: Pkcs8V1Der<'_> =
        pair.as_der().map_err(|_| Error::Internal("an RSA key cannot be written as PKCS#8"))?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

fn p256_layout(scalar: &[u8], point: &[u8]) -> Secret {
    let mut secret = Zeroizing::new(Vec::with_capacity(scalar.len() + point.len()));
    secret.extend_from_slice(scalar);
    secret.extend_from_slice(point);
    secret
}

pub(crate) fn p256_pair(secret: &[u8]) -> Result<EcdsaKeyPair> {
    let (scalar, point) = secret.split_at_checked(P256_SCALAR).ok_or(Error::HandleDamaged)?;
    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, scalar, point)
        .map_err(damaged)
}

/// The public part of a secret.
pub(crate) fn public_of(spec: KeySpec, secret: &[u8], worker: &mut Worker) -> Result<PublicMaterial> {
    Ok(match spec {
        KeySpec::Secp256k1 => {
            let mut key = SecretKey::from_slice(secret).map_err(damaged)?;
            let public_key = key.public_key(worker.secp()?);
            key.non_secure_erase();
            PublicMaterial::Secp256k1 { public_key }
        }
        KeySpec::Bip32Seed => {
            let derived = derive_public(secret, &DerivationPath::master(), worker)?;
            PublicMaterial::Bip32 { fingerprint: derived.root, xpub: derived.xpub }
        }
        KeySpec::Ed25519 => {
            let pair = Ed25519KeyPair::from_seed_unchecked(secret).map_err(damaged)?;
            PublicMaterial::Ed25519 { public_key: pair.public_key().as_ref().try_into().map_err(damaged)? }
        }
        KeySpec::P256 => PublicMaterial::P256 {
            public_key: p256_pair(secret)?.public_key().as_ref().try_into().map_err(damaged)?,
        },
        KeySpec::Rsa3072 => {
            let pair = RsaKeyPair::from_pkcs8(secret).map_err(damaged)?;
            PublicMaterial::Rsa3072 { public_key: pair.public_key().as_ref().to_vec() }
        }
        KeySpec::Aes256 => PublicMaterial::Aes256,
    })
}

fn master(seed: &[u8]) -> Result<Xpriv> {
    Xpriv::new_master(NetworkKind::Main, seed).map_err(damaged)
}

/// The public key at `path` of the tree that grows from `seed`.
pub(crate) fn derive_public(
    seed: &[u8],
    path: &DerivationPath,
    worker: &mut Worker,
) -> Result<DerivedPublic> {
    let secp = worker.secp()?;
    let mut root = master(seed)?;
    let fingerprint = root.fingerprint(secp);
    let mut child = root.derive_priv(secp, path).map_err(|_| Error::Internal("BIP32 derivation failed"))?;
    let xpub = Xpub::from_priv(secp, &child);
    root.private_key.non_secure_erase();
    child.private_key.non_secure_erase();
    Ok(DerivedPublic { xpub, root: fingerprint })
}

fn curve_key(
    spec: KeySpec,
    secret: &[u8],
    path: Option<&DerivationPath>,
    secp: &Secp256k1<All>,
) -> Result<SecretKey> {
    match (spec, path) {
        (KeySpec::Bip32Seed, Some(path)) => bip32::private_key(secret, path, secp),
        (KeySpec::Secp256k1, None) => SecretKey::from_slice(secret).map_err(damaged),
        _ => Err(Error::WrongSpec { spec, act: "sign with this algorithm" }),
    }
}

fn schnorr(
    key: &SecretKey,
    digest: [u8; 32],
    tweak: Option<TapTweak>,
    secp: &Secp256k1<All>,
) -> Result<Vec<u8>> {
    let mut pair = Keypair::from_secret_key(secp, key);
    if let Some(TapTweak { merkle_root }) = tweak {
        let mut tweaked = pair.tap_tweak(secp, merkle_root).to_keypair();
        std::mem::swap(&mut pair, &mut tweaked);
        tweaked.non_secure_erase();
    }
    let mut aux = Zeroizing::new([0; 32]);
    fill_random(aux.as_mut())?;
    let signature = secp.sign_schnorr_with_aux_rand(&CurveMessage::from_digest(digest), &pair, &aux);
    pair.non_secure_erase();
    Ok(signature.serialize().to_vec())
}

/// Signs with a secret of sort `spec`.
pub(crate) fn sign(
    spec: KeySpec,
    secret: &[u8],
    algorithm: SignAlgorithm,
    path: Option<&DerivationPath>,
    text: &Text,
    worker: &mut Worker,
) -> Result<Vec<u8>> {
    if path.is_some() != (spec == KeySpec::Bip32Seed) {
        return Err(Error::invalid("path", "a path is given for bip32 keys and for no others"));
    }
    match (algorithm, text) {
        (SignAlgorithm::EcdsaSecp256k1, Text::Digest(digest)) => {
            let secp = worker.secp()?;
            let mut key = curve_key(spec, secret, path, secp)?;
            let signature = secp.sign_ecdsa(&CurveMessage::from_digest(*digest), &key);
            key.non_secure_erase();
            Ok(signature.serialize_compact().to_vec())
        }
        (SignAlgorithm::SchnorrSecp256k1 { tweak }, Text::Digest(digest)) => {
            let secp = worker.secp()?;
            let mut key = curve_key(spec, secret, path, secp)?;
            let signature = schnorr(&key, *digest, tweak, secp);
            key.non_secure_erase();
            signature
        }
        (SignAlgorithm::Ed25519, Text::Bytes(message)) => sign_ed25519(secret, message),
        (SignAlgorithm::EcdsaP256, text) => sign_p256(secret, text),
        (SignAlgorithm::RsaPssSha256, Text::Bytes(message)) => sign_rsa(secret, message),
        _ => Err(Error::invalid("message", "this algorithm does not take this form of message")),
    }
}

// Each of these on its own: the library's signatures take kilobytes of the stack, which the others then do not use.

#[inline(never)]
fn sign_ed25519(secret: &[u8], message: &[u8]) -> Result<Vec<u8>> {
    let pair = Ed25519KeyPair::from_seed_unchecked(secret).map_err(damaged)?;
    Ok(pair.try_sign(message).map_err(signing_failed)?.as_ref().to_vec())
}

#[inline(never)]
fn sign_p256(secret: &[u8], text: &Text) -> Result<Vec<u8>> {
    let pair = p256_pair(secret)?;
    let signature = match text {
        Text::Digest(digest) => {
            pair.sign_digest(&Digest::import_less_safe(digest, &SHA256).map_err(signing_failed)?)
        }
        Text::Bytes(message) => pair.sign(&SystemRandom::new(), message),
    };
    Ok(signature.map_err(signing_failed)?.as_ref().to_vec())
}

#[inline(never)]
fn sign_rsa(secret: &[u8], message: &[u8]) -> Result<Vec<u8>> {
    let pair = RsaKeyPair::from_pkcs8(secret).map_err(damaged)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature).map_err(signing_failed)?;
    Ok(signature)
}

/// The AES key of a secret.
pub(crate) fn aes_key(secret: &[u8]) -> Result<&[u8; KEY]> {
    secret.try_into().map_err(damaged)
}
