//! What the server asks.

use std::time::{Duration, Instant};

use anya_primitives::{KeyId, TenantId};
use anya_provider::{
    ImportMaterial, KeyContext, Message, SignAlgorithm, SignRequest, TapTweak, TransferScheme,
};
use bitcoin::{
    bip32::{ChildNumber, DerivationPath},
    hashes::Hash as _,
    taproot::TapNodeHash,
};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::codec::{Reader, Writer};
use crate::error::{Error, Result};

/// The most steps of a path: a BIP32 depth is one byte.
const LONGEST_PATH: u32 = 255;

/// A secret from outside, borrowed.
pub enum Material<'a> {
    /// A BIP39 phrase and its passphrase.
    Mnemonic {
        /// The words.
        phrase: &'a str,
        /// The optional passphrase.
        passphrase: Option<&'a str>,
    },
    /// The secret itself.
    Secret(&'a [u8]),
}

impl<'a> Material<'a> {
    /// Borrows what a caller gave.
    pub fn of(material: &'a ImportMaterial) -> Self {
        match material {
            ImportMaterial::Mnemonic { phrase, passphrase } => Self::Mnemonic {
                phrase: phrase.expose_secret(),
                passphrase: passphrase.as_ref().map(|text| text.expose_secret()),
            },
            ImportMaterial::Secret(secret) => Self::Secret(secret.expose_secret()),
        }
    }

    /// The same, owned, in memory that wipes itself.
    pub fn to_owned(&self) -> ImportMaterial {
        match *self {
            Self::Mnemonic { phrase, passphrase } => {
                ImportMaterial::Mnemonic { phrase: phrase.into(), passphrase: passphrase.map(Into::into) }
            }
            Self::Secret(secret) => ImportMaterial::Secret(secret.to_vec().into()),
        }
    }
}

/// One request. Everything in it that can be long or secret is borrowed: from the caller, or from the frame.
#[allow(missing_docs, reason = "the fields are those of the provider's methods")]
pub enum Request<'a> {
    /// Show who you are, bound to this nonce.
    Hello {
        nonce: [u8; 32],
    },
    /// Here is the server's part of what opens your root; `create` one if there is none.
    Release {
        part: &'a [u8; 32],
        create: bool,
    },
    /// Can you use keys?
    Health,
    Generate {
        key: KeyContext,
        transferable: bool,
    },
    Import {
        key: KeyContext,
        transferable: bool,
        material: Material<'a>,
    },
    DerivePublic {
        key: KeyContext,
        handle: &'a [u8],
        path: DerivationPath,
    },
    Sign {
        key: KeyContext,
        handle: &'a [u8],
        request: SignRequest<'a>,
    },
    Encrypt {
        key: KeyContext,
        handle: &'a [u8],
        aad: &'a [u8],
        plaintext: &'a [u8],
    },
    Decrypt {
        key: KeyContext,
        handle: &'a [u8],
        aad: &'a [u8],
        ciphertext: &'a [u8],
    },
    Destroy {
        key: KeyContext,
        handle: &'a [u8],
    },
    TransferOffer {
        key: KeyContext,
        scheme: TransferScheme,
    },
    TransferOut {
        key: KeyContext,
        handle: &'a [u8],
        scheme: TransferScheme,
        public: &'a [u8],
    },
    TransferIn {
        key: KeyContext,
        transferable: bool,
        ticket: &'a [u8],
        scheme: TransferScheme,
        wrapped: &'a [u8],
    },
    KekStatus,
    RotateKek {
        part: &'a [u8; 32],
    },
    Rewrap {
        key: KeyContext,
        handle: &'a [u8],
    },
    RetireKek {
        generation: u32,
        part: &'a [u8; 32],
    },
    Attest {
        key: KeyContext,
        handle: &'a [u8],
        nonce: [u8; 32],
    },
}

impl<'a> Request<'a> {
    /// The frame of this request. The time until `deadline` goes with it, because clocks of two machines differ.
    pub fn encode(&self, id: u64, deadline: Instant) -> Zeroizing<Vec<u8>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = u32::try_from(left.as_micros()).unwrap_or(u32::MAX);
        Writer::frame(id, |writer| {
            writer.u32(left);
            self.write(writer);
        })
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Hello { nonce } => {
                w.u8(1);
                w.put(nonce);
            }
            Self::Release { part, create } => {
                w.u8(2);
                w.put(*part);
                w.bool(*create);
            }
            Self::Health => w.u8(3),
            Self::Generate { key, transferable } => {
                put_key(w, 4, key);
                w.bool(*transferable);
            }
            Self::Import { key, transferable, material } => {
                put_key(w, 5, key);
                w.bool(*transferable);
                match material {
                    Material::Mnemonic { phrase, passphrase } => {
                        w.u8(0);
                        w.bytes(phrase.as_bytes());
                        w.option(passphrase.map(str::as_bytes));
                    }
                    Material::Secret(secret) => {
                        w.u8(1);
                        w.bytes(secret);
                    }
                }
            }
            Self::DerivePublic { key, handle, path } => {
                put_handle(w, 6, key, handle);
                put_path(w, path);
            }
            Self::Sign { key, handle, request } => {
                put_handle(w, 7, key, handle);
                put_sign(w, request);
            }
            Self::Encrypt { key, handle, aad, plaintext: text } => {
                put_handle(w, 8, key, handle);
                w.bytes(aad);
                w.bytes(text);
            }
            Self::Decrypt { key, handle, aad, ciphertext: text } => {
                put_handle(w, 9, key, handle);
                w.bytes(aad);
                w.bytes(text);
            }
            Self::Destroy { key, handle } => put_handle(w, 10, key, handle),
            Self::TransferOffer { key, scheme } => {
                put_key(w, 11, key);
                put_scheme(w, *scheme);
            }
            Self::TransferOut { key, handle, scheme, public } => {
                put_handle(w, 12, key, handle);
                put_scheme(w, *scheme);
                w.bytes(public);
            }
            Self::TransferIn { key, transferable, ticket, scheme, wrapped } => {
                put_key(w, 13, key);
                w.bool(*transferable);
                w.bytes(ticket);
                put_scheme(w, *scheme);
                w.bytes(wrapped);
            }
            Self::KekStatus => w.u8(14),
            Self::RotateKek { part } => {
                w.u8(15);
                w.put(*part);
            }
            Self::Rewrap { key, handle } => put_handle(w, 16, key, handle),
            Self::RetireKek { generation, part } => {
                w.u8(17);
                w.u32(*generation);
                w.put(*part);
            }
            Self::Attest { key, handle, nonce } => {
                put_handle(w, 18, key, handle);
                w.put(nonce);
            }
        }
    }

    /// Reads the body of a frame that came in at `arrived`. Returns the request and its deadline.
    ///
    /// # Errors
    /// [`Error::Protocol`] for anything that [`Request::encode`] does not write.
    pub fn decode(body: &'a [u8], arrived: Instant) -> Result<(Self, Instant)> {
        let mut reader = Reader(body);
        let r = &mut reader;
        let deadline = arrived + Duration::from_micros(r.u32()?.into());
        let request = match r.u8()? {
            1 => Self::Hello { nonce: r.array()? },
            2 => Self::Release { part: part(r)?, create: r.bool()? },
            3 => Self::Health,
            4 => Self::Generate { key: key(r, deadline)?, transferable: r.bool()? },
            5 => Self::Import { key: key(r, deadline)?, transferable: r.bool()?, material: material(r)? },
            6 => Self::DerivePublic { key: key(r, deadline)?, handle: r.bytes()?, path: path(r)? },
            7 => Self::Sign { key: key(r, deadline)?, handle: r.bytes()?, request: sign(r)? },
            8 => Self::Encrypt {
                key: key(r, deadline)?,
                handle: r.bytes()?,
                aad: r.bytes()?,
                plaintext: r.bytes()?,
            },
            9 => Self::Decrypt {
                key: key(r, deadline)?,
                handle: r.bytes()?,
                aad: r.bytes()?,
                ciphertext: r.bytes()?,
            },
            10 => Self::Destroy { key: key(r, deadline)?, handle: r.bytes()? },
            11 => Self::TransferOffer { key: key(r, deadline)?, scheme: scheme(r)? },
            12 => Self::TransferOut {
                key: key(r, deadline)?,
                handle: r.bytes()?,
                scheme: scheme(r)?,
                public: r.bytes()?,
            },
            13 => Self::TransferIn {
                key: key(r, deadline)?,
                transferable: r.bool()?,
                ticket: r.bytes()?,
                scheme: scheme(r)?,
                wrapped: r.bytes()?,
            },
            14 => Self::KekStatus,
            15 => Self::RotateKek { part: part(r)? },
            16 => Self::Rewrap { key: key(r, deadline)?, handle: r.bytes()? },
            17 => Self::RetireKek { generation: r.u32()?, part: part(r)? },
            18 => Self::Attest { key: key(r, deadline)?, handle: r.bytes()?, nonce: r.array()? },
            _ => return Err(Error::Protocol("a request of an unknown sort")),
        };
        reader.end()?;
        Ok((request, deadline))
    }
}

fn put_key(w: &mut Writer, code: u8, key: &KeyContext) {
    w.u8(code);
    w.put(key.tenant.as_bytes());
    w.put(key.key.as_bytes());
    w.u32(key.version);
    w.bytes(key.spec.name().as_bytes());
}

fn put_handle(w: &mut Writer, code: u8, key: &KeyContext, handle: &[u8]) {
    put_key(w, code, key);
    w.bytes(handle);
}

fn key(r: &mut Reader<'_>, deadline: Instant) -> Result<KeyContext> {
    let tenant = TenantId::from_bytes(r.array()?);
    let key = KeyId::from_bytes(r.array()?);
    let version = r.u32()?;
    let spec = r.text()?.parse().map_err(|_| Error::Protocol("a sort of key is unknown"))?;
    Ok(KeyContext { tenant, key, version, spec, deadline })
}

fn part<'a>(r: &mut Reader<'a>) -> Result<&'a [u8; 32]> {
    r.take(32)?.try_into().map_err(|_| Error::Protocol("a message ends too early"))
}

fn put_path(w: &mut Writer, path: &DerivationPath) {
    w.u32(u32::try_from(path.len()).unwrap_or(u32::MAX));
    path.into_iter().for_each(|&step| w.u32(step.into()));
}

fn path(r: &mut Reader<'_>) -> Result<DerivationPath> {
    let length = r.u32()?;
    if length > LONGEST_PATH {
        return Err(Error::Protocol("a path is longer than BIP32 allows"));
    }
    (0..length).map(|_| r.u32().map(ChildNumber::from)).collect::<Result<Vec<_>>>().map(Into::into)
}

fn put_sign(w: &mut Writer, request: &SignRequest<'_>) {
    match request.algorithm {
        SignAlgorithm::EcdsaSecp256k1 => w.u8(0),
        SignAlgorithm::SchnorrSecp256k1 { tweak: None } => w.u8(1),
        SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak { merkle_root: None }) } => w.u8(2),
        SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak { merkle_root: Some(root) }) } => {
            w.u8(3);
            w.put(root.as_byte_array());
        }
        SignAlgorithm::Ed25519 => w.u8(4),
        SignAlgorithm::EcdsaP256 => w.u8(5),
        SignAlgorithm::RsaPssSha256 => w.u8(6),
    }
    w.bool(request.path.is_some());
    if let Some(path) = &request.path {
        put_path(w, path);
    }
    match request.message {
        Message::Digest(digest) => {
            w.u8(0);
            w.put(&digest);
        }
        Message::Bytes(bytes) => {
            w.u8(1);
            w.bytes(bytes);
        }
    }
}

fn sign<'a>(r: &mut Reader<'a>) -> Result<SignRequest<'a>> {
    let tweaked = |merkle_root| SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak { merkle_root }) };
    let algorithm = match r.u8()? {
        0 => SignAlgorithm::EcdsaSecp256k1,
        1 => SignAlgorithm::SchnorrSecp256k1 { tweak: None },
        2 => tweaked(None),
        3 => tweaked(Some(TapNodeHash::from_byte_array(r.array()?))),
        4 => SignAlgorithm::Ed25519,
        5 => SignAlgorithm::EcdsaP256,
        6 => SignAlgorithm::RsaPssSha256,
        _ => return Err(Error::Protocol("an algorithm is unknown")),
    };
    let path = if r.bool()? { Some(path(r)?) } else { None };
    let message = match r.u8()? {
        0 => Message::Digest(r.array()?),
        1 => Message::Bytes(r.bytes()?),
        _ => return Err(Error::Protocol("a message is neither digest nor bytes")),
    };
    Ok(SignRequest { algorithm, path, message })
}

fn material<'a>(r: &mut Reader<'a>) -> Result<Material<'a>> {
    match r.u8()? {
        0 => Ok(Material::Mnemonic {
            phrase: r.text()?,
            passphrase: match r.option()? {
                Some(text) => {
                    Some(std::str::from_utf8(text).map_err(|_| Error::Protocol("a text is not UTF-8"))?)
                }
                None => None,
            },
        }),
        1 => Ok(Material::Secret(r.bytes()?)),
        _ => Err(Error::Protocol("a secret is of an unknown sort")),
    }
}

fn put_scheme(w: &mut Writer, scheme: TransferScheme) {
    // The name under which serde knows it.
    w.bytes(&serde_json::to_vec(&scheme).unwrap_or_default());
}

fn scheme(r: &mut Reader<'_>) -> Result<TransferScheme> {
    r.json()
}
