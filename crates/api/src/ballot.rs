//! Ballots: an operator's signed yes or no to an intent.
//!
//! The signed message is the line `anya/ballot/v1`, a newline, and the RFC 8785 canonical JSON of the [`Ballot`]; the
//! signature is Ed25519 (RFC 8032) over that message by the operator's own key, which the server never holds.

use anya_primitives::{OperationId, OperatorId, Timestamp};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, ParsedPublicKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::canonical::{Digest, message};

/// Domain line of the signed message.
pub const DOMAIN: &str = "anya/ballot/v1";

/// What an operator says of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Yes: it counts towards the quorum.
    Approve,
    /// No: the operation ends `rejected`.
    Reject,
}

/// One operator's word on one intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ballot {
    /// Format version, 1.
    pub version: u32,
    /// The operation.
    pub operation: OperationId,
    /// The digest of its intent.
    pub intent: Digest,
    /// Who decides.
    pub operator: OperatorId,
    /// Yes or no.
    pub decision: Decision,
    /// When the operator signed, by the operator's own clock.
    pub signed_at: Timestamp,
}

/// A ballot with the signature over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedBallot {
    /// The ballot.
    pub ballot: Ballot,
    /// 64-byte Ed25519 signature over [`Ballot::message`], in hexadecimal.
    #[schema(pattern = "^[0-9a-f]{128}$")]
    pub signature: String,
}

/// Why a ballot's signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BallotError {
    /// The public key is not 32 bytes of hexadecimal that encode a curve point.
    #[error("the public key is not an ed25519 public key in hexadecimal")]
    PublicKey,
    /// The signature is not 64 bytes of hexadecimal.
    #[error("the signature is not 64 bytes of hexadecimal")]
    Encoding,
    /// The ballot could not be written canonically.
    #[error("the ballot has no canonical form")]
    Canonical,
    /// The signature is by another key, or over another ballot.
    #[error("the signature does not match the ballot and the operator's public key")]
    Signature,
}

impl Ballot {
    /// The format version that this build writes and accepts.
    pub const VERSION: u32 = 1;

    /// The bytes that the operator signs.
    pub fn message(&self) -> Option<Vec<u8>> {
        message(DOMAIN, self)
    }

    /// Signs the ballot with the operator's key.
    pub fn sign(self, key: &Ed25519KeyPair) -> Result<SignedBallot, BallotError> {
        let message = self.message().ok_or(BallotError::Canonical)?;
        let signature = hex::encode(key.sign(&message).as_ref());
        Ok(SignedBallot { ballot: self, signature })
    }
}

impl SignedBallot {
    /// Checks the signature against `public_key` (32 bytes in hexadecimal).
    pub fn verify(&self, public_key: &str) -> Result<(), BallotError> {
        let message = self.ballot.message().ok_or(BallotError::Canonical)?;
        let mut signature = [0; 64];
        hex::decode_to_slice(&self.signature, &mut signature).map_err(|_| BallotError::Encoding)?;
        parse_public_key(public_key)?.verify_sig(&message, &signature).map_err(|_| BallotError::Signature)
    }
}

/// Reads an operator's public key: 32 bytes of lower-case hexadecimal that encode a point of the curve.
pub fn parse_public_key(text: &str) -> Result<ParsedPublicKey, BallotError> {
    let mut bytes = [0; 32];
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(BallotError::PublicKey);
    }
    hex::decode_to_slice(text, &mut bytes).map_err(|_| BallotError::PublicKey)?;
    ParsedPublicKey::new(&ED25519, bytes).map_err(|_| BallotError::PublicKey)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::KeyPair;

    use super::*;

    fn ballot(decision: Decision) -> Ballot {
        Ballot {
            version: Ballot::VERSION,
            operation: OperationId::new(),
            intent: Digest::of_bytes(b"an intent"),
            operator: OperatorId::new(),
            decision,
            signed_at: Timestamp::from_millis(1_700_000_000_000).unwrap(),
        }
    }

    #[test]
    fn a_signature_holds_for_its_ballot_and_key_alone() {
        let key = Ed25519KeyPair::generate().unwrap();
        let public = hex::encode(key.public_key().as_ref());
        let signed = ballot(Decision::Approve).sign(&key).unwrap();
        assert_eq!(signed.verify(&public), Ok(()));

        let other = Ed25519KeyPair::generate().unwrap();
        assert_eq!(signed.verify(&hex::encode(other.public_key().as_ref())), Err(BallotError::Signature));

        let mut turned = signed.clone();
        turned.ballot.decision = Decision::Reject;
        assert_eq!(turned.verify(&public), Err(BallotError::Signature));

        let mut cut = signed.clone();
        cut.signature.truncate(126);
        assert_eq!(cut.verify(&public), Err(BallotError::Encoding));
        assert_eq!(signed.verify("00"), Err(BallotError::PublicKey));
    }

    #[test]
    fn the_message_is_canonical_json_behind_its_domain() {
        let message = String::from_utf8(ballot(Decision::Approve).message().unwrap()).unwrap();
        assert!(message.starts_with("anya/ballot/v1\n{\"decision\":\"approve\",\"intent\":\""), "{message}");
    }
}
