//! What the signer answers.

use anya_provider::{
    Algorithm, Capabilities, DerivedPublic, Erasure, Error as ProviderError, Evidence, HdMode, Health,
    KekStatus, KeySpec, PublicMaterial, Rewrapped, Transfer, TransferOffer, TransferScheme,
};
use bitcoin::bip32::Xpub;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    codec::{Reader, Writer},
    fault,
};
use crate::error::{Error, Result};

/// The most generations of a sealing key that are read.
const MOST_GENERATIONS: u32 = 4096;

/// Whether a signer has a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootState {
    /// It was never given one.
    Absent,
    /// It has one, sealed: the server's part opens it.
    Sealed,
    /// It is open already, for another connection.
    Open,
}

/// What a signer can do: what its keystore declares of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Sorts of keys that it generates.
    pub specs: Vec<KeySpec>,
    /// Sorts of keys that it takes in.
    pub imports: Vec<KeySpec>,
    /// What it computes.
    pub algorithms: Vec<Algorithm>,
    /// How it derives.
    pub hd: HdMode,
    /// How keys come out of it and in.
    pub transfers: Vec<TransferScheme>,
    /// Whether its sealing key can be renewed.
    pub kek_rotation: bool,
}

impl Features {
    /// What `capabilities` declare.
    pub fn of(capabilities: &Capabilities) -> Self {
        Self {
            specs: capabilities.specs.clone(),
            imports: capabilities.imports.clone(),
            algorithms: capabilities.algorithms.clone(),
            hd: capabilities.hd,
            transfers: capabilities.transfers.clone(),
            kek_rotation: capabilities.kek_rotation,
        }
    }

    /// Whether this is at least what `wanted` is.
    pub fn cover(&self, wanted: &Self) -> bool {
        wanted.specs.iter().all(|spec| self.specs.contains(spec))
            && wanted.imports.iter().all(|spec| self.imports.contains(spec))
            && wanted.algorithms.iter().all(|algorithm| self.algorithms.contains(algorithm))
            && wanted.hd == self.hd
            && wanted.transfers.iter().all(|scheme| self.transfers.contains(scheme))
            && (self.kek_rotation || !wanted.kek_rotation)
    }
}

/// One answer.
#[allow(missing_docs, reason = "the fields are those of the provider's methods")]
pub enum Answer {
    Hello {
        evidence: Evidence,
        root: RootState,
    },
    Released(Features),
    Health(Health),
    Generated {
        handle: Vec<u8>,
        public: PublicMaterial,
    },
    Derived(DerivedPublic),
    /// A signature, a ciphertext or a plaintext.
    Bytes(Zeroizing<Vec<u8>>),
    Erased(Erasure),
    Offer(TransferOffer),
    Transfer(Transfer),
    Kek(KekStatus),
    Rewrapped(Rewrapped),
    Evidence(Evidence),
}

impl Answer {
    /// The frame of an answer or of a refusal.
    pub fn encode(outcome: &Result<Self, ProviderError>, id: u64) -> Zeroizing<Vec<u8>> {
        Writer::frame(id, |writer| match outcome {
            Ok(answer) => answer.write(writer),
            Err(error) => {
                writer.u8(0);
                fault::write(writer, error);
            }
        })
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Hello { evidence, root } => {
                w.u8(1);
                put_json(w, evidence);
                w.u8(match root {
                    RootState::Absent => 0,
                    RootState::Sealed => 1,
                    RootState::Open => 2,
                });
            }
            Self::Released(features) => {
                w.u8(2);
                put_json(w, features);
            }
            Self::Health(Health { ready, detail }) => {
                w.u8(3);
                w.bool(*ready);
                w.bytes(detail.as_bytes());
            }
            Self::Generated { handle, public } => {
                w.u8(4);
                w.bytes(handle);
                put_json(w, public);
            }
            Self::Derived(DerivedPublic { xpub, root }) => {
                w.u8(5);
                w.put(&xpub.encode());
                w.put(root.as_bytes());
            }
            Self::Bytes(bytes) => {
                w.u8(6);
                w.bytes(bytes);
            }
            Self::Erased(erasure) => {
                w.u8(7);
                w.bool(matches!(erasure, Erasure::Object));
            }
            Self::Offer(TransferOffer { scheme, public, ticket }) => {
                w.u8(8);
                put_json(w, scheme);
                w.bytes(public);
                w.bytes(ticket);
            }
            Self::Transfer(Transfer { scheme, wrapped }) => {
                w.u8(9);
                put_json(w, scheme);
                w.bytes(wrapped);
            }
            Self::Kek(KekStatus { current, generations }) => {
                w.u8(10);
                w.u32(*current);
                w.u32(u32::try_from(generations.len()).unwrap_or(u32::MAX));
                generations.iter().for_each(|generation| w.u32(*generation));
            }
            Self::Rewrapped(rewrapped) => {
                w.u8(11);
                w.option(match rewrapped {
                    Rewrapped::Current => None,
                    Rewrapped::Handle(handle) => Some(handle),
                });
            }
            Self::Evidence(evidence) => {
                w.u8(12);
                put_json(w, evidence);
            }
        }
    }

    /// Reads the body of a frame: an answer, or the signer's refusal in the name of `provider`.
    ///
    /// # Errors
    /// [`Error::Signer`] for a refusal, [`Error::Protocol`] for what is neither.
    pub fn decode(body: &[u8], provider: &str) -> Result<Self> {
        let mut reader = Reader(body);
        let r = &mut reader;
        let answer = match r.u8()? {
            0 => {
                let error = fault::read(r, provider)?;
                reader.end()?;
                return Err(Error::Signer(error));
            }
            1 => Self::Hello {
                evidence: r.json()?,
                root: match r.u8()? {
                    0 => RootState::Absent,
                    1 => RootState::Sealed,
                    2 => RootState::Open,
                    _ => return Err(Error::Protocol("a root is in an unknown state")),
                },
            },
            2 => Self::Released(r.json()?),
            3 => Self::Health(Health { ready: r.bool()?, detail: r.text()?.to_owned() }),
            4 => Self::Generated { handle: r.bytes()?.to_vec(), public: r.json()? },
            5 => Self::Derived(DerivedPublic {
                xpub: Xpub::decode(r.take(78)?).map_err(|_| Error::Protocol("an xpub cannot be read"))?,
                root: r.array::<4>()?.into(),
            }),
            6 => Self::Bytes(Zeroizing::new(r.bytes()?.to_vec())),
            7 => Self::Erased(if r.bool()? { Erasure::Object } else { Erasure::HandleOnly }),
            8 => Self::Offer(TransferOffer {
                scheme: r.json()?,
                public: r.bytes()?.to_vec(),
                ticket: r.bytes()?.to_vec(),
            }),
            9 => Self::Transfer(Transfer { scheme: r.json()?, wrapped: r.bytes()?.to_vec() }),
            10 => {
                let (current, count) = (r.u32()?, r.u32()?);
                if count > MOST_GENERATIONS {
                    return Err(Error::Protocol("more generations than there can be"));
                }
                let generations = (0..count).map(|_| r.u32()).collect::<Result<_>>()?;
                Self::Kek(KekStatus { current, generations })
            }
            11 => Self::Rewrapped(match r.option()? {
                None => Rewrapped::Current,
                Some(handle) => Rewrapped::Handle(handle.to_vec()),
            }),
            12 => Self::Evidence(r.json()?),
            _ => return Err(Error::Protocol("an answer of an unknown sort")),
        };
        reader.end()?;
        Ok(answer)
    }
}

fn put_json(w: &mut Writer, value: &impl Serialize) {
    // Texts, numbers and hexadecimal always serialize.
    w.bytes(&serde_json::to_vec(value).unwrap_or_default());
}
