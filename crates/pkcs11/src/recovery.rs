//! The recovery id of a signature, which no device gives.

use bitcoin::secp256k1::{
    Message, PublicKey, Secp256k1, Verification, ecdsa,
    ecdsa::{RecoverableSignature, RecoveryId},
};

/// Which of the keys that a signature could be by is `public_key` (SEC 1, 4.1.6): 0 to 3, or nothing where the
/// signature is not this key's. `signature` must be in its low-S form, as the keyring gives it.
pub fn recovery_id<C: Verification>(
    secp: &Secp256k1<C>,
    digest: [u8; 32],
    signature: &ecdsa::Signature,
    public_key: &PublicKey,
) -> Option<u8> {
    let (message, compact) = (Message::from_digest(digest), signature.serialize_compact());
    (0u8..4).find(|id| {
        RecoveryId::from_i32(i32::from(*id))
            .and_then(|id| RecoverableSignature::from_compact(&compact, id))
            .and_then(|signature| secp.recover_ecdsa(&message, &signature))
            .is_ok_and(|found| found == *public_key)
    })
}

#[cfg(test)]
mod tests {
    use bitcoin::secp256k1::SecretKey;

    use super::*;

    #[test]
    fn it_agrees_with_the_library_that_signed() {
        let secp = Secp256k1::new();
        for seed in 1..40u8 {
            let key = SecretKey::from_slice(&[seed; 32]).unwrap();
            let digest = [seed ^ 0x55; 32];
            let made = secp.sign_ecdsa_recoverable(&Message::from_digest(digest), &key);
            let (id, _) = made.serialize_compact();
            let signature = made.to_standard();
            let public = key.public_key(&secp);
            assert_eq!(recovery_id(&secp, digest, &signature, &public).map(i32::from), Some(id.to_i32()));
            let other = SecretKey::from_slice(&[seed + 1; 32]).unwrap().public_key(&secp);
            assert_eq!(recovery_id(&secp, digest, &signature, &other), None);
        }
    }
}
