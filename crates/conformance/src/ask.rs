//! What the suite asks a provider to sign.

use anya_provider::{Algorithm, KeySpec, Message, SignAlgorithm, SignRequest, TapTweak};
use bitcoin::{TapNodeHash, bip32::DerivationPath, hashes::Hash as _};

use crate::verdict::{Stop, fail};

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Stop> {
    let mut bytes = [0; N];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => fail("this machine's random generator failed: nothing was shown"),
    }
}

/// What is signed, owned.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Digest([u8; 32]),
    Bytes(Vec<u8>),
}

/// A request to sign, owned.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) algorithm: SignAlgorithm,
    pub(crate) path: Option<DerivationPath>,
    pub(crate) text: Text,
}

impl Ask {
    /// A random message of the form that `algorithm` takes, for a key of sort `spec`.
    pub(crate) fn random(spec: KeySpec, algorithm: SignAlgorithm) -> Result<Self, Stop> {
        let text = match algorithm.algorithm() {
            Algorithm::Ed25519 | Algorithm::RsaPssSha256 => Text::Bytes(random::<48>()?.to_vec()),
            _ => Text::Digest(random()?),
        };
        Ok(Self::new(spec, algorithm, text))
    }

    /// `text` for a key of sort `spec`; in a BIP32 tree, for an address key far from the root.
    pub(crate) fn new(spec: KeySpec, algorithm: SignAlgorithm, text: Text) -> Self {
        let path = (spec == KeySpec::Bip32Seed).then(|| path(&[84 | HARD, HARD, HARD, 0, 7]));
        Self { algorithm, path, text }
    }

    pub(crate) fn request(&self) -> SignRequest<'_> {
        SignRequest {
            algorithm: self.algorithm,
            path: self.path.clone(),
            message: match &self.text {
                Text::Digest(digest) => Message::Digest(*digest),
                Text::Bytes(bytes) => Message::Bytes(bytes),
            },
        }
    }
}

/// The bit of a hardened step.
pub(crate) const HARD: u32 = 1 << 31;

/// A path of these steps.
pub(crate) fn path(steps: &[u32]) -> DerivationPath {
    steps.iter().map(|step| (*step).into()).collect::<Vec<_>>().into()
}

/// The forms of one algorithm.
pub(crate) fn variants(algorithm: Algorithm) -> Result<Vec<SignAlgorithm>, Stop> {
    Ok(match algorithm {
        Algorithm::EcdsaSecp256k1 => vec![SignAlgorithm::EcdsaSecp256k1],
        Algorithm::SchnorrSecp256k1 => {
            let root = TapNodeHash::from_byte_array(random()?);
            [None, Some(TapTweak::default()), Some(TapTweak { merkle_root: Some(root) })]
                .map(|tweak| SignAlgorithm::SchnorrSecp256k1 { tweak })
                .to_vec()
        }
        Algorithm::Ed25519 => vec![SignAlgorithm::Ed25519],
        Algorithm::EcdsaP256 => vec![SignAlgorithm::EcdsaP256],
        Algorithm::RsaPssSha256 => vec![SignAlgorithm::RsaPssSha256],
        Algorithm::Aes256Gcm => vec![],
    })
}
