//! BIP39 phrases that are imported: words for a seed.

use bip39::{Error as PhraseError, Language, Mnemonic};
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

use crate::wire::Fault;

/// The longest phrase or passphrase that is read, in bytes.
const LONGEST: usize = 1024;

/// The 64-byte seed of an English phrase and its passphrase.
pub(crate) fn seed_of(phrase: &str, passphrase: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let bad = |reason: String| Fault::invalid("mnemonic", reason);
    if phrase.len() > LONGEST {
        return Err(bad("it is longer than any phrase".to_owned()));
    }
    if passphrase.len() > LONGEST {
        return Err(Fault::invalid("mnemonic_passphrase", "at most 1024 bytes"));
    }
    let mut words = Zeroizing::new(String::with_capacity(phrase.len() + 1));
    for word in phrase.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        word.chars().for_each(|letter| words.push(letter.to_ascii_lowercase()));
    }
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, &words).map_err(|error| {
        bad(match error {
            PhraseError::BadWordCount(_) => "use 12, 15, 18, 21 or 24 words".to_owned(),
            PhraseError::InvalidChecksum => {
                "the checksum does not match: a word is wrong or in the wrong place".to_owned()
            }
            PhraseError::UnknownWord(place) => format!("word {} is not in the English list", place + 1),
            _ => "it is not an English BIP39 phrase".to_owned(),
        })
    })?;
    let length = passphrase.nfkd().map(char::len_utf8).sum();
    let mut normal = Zeroizing::new(String::with_capacity(length));
    // Letter by letter, so that the buffer is never moved.
    passphrase.nfkd().for_each(|letter| normal.push(letter));
    let mut seed = mnemonic.to_seed_normalized(&normal);
    let copy = Zeroizing::new(seed.to_vec());
    seed.zeroize();
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    // BIP39, vectors.json, the first English case; its passphrase is TREZOR.
    #[test]
    fn the_first_published_vector() {
        let phrase =
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
        let seed = seed_of(&format!("  {} ", phrase.to_uppercase()), "TREZOR").unwrap();
        assert_eq!(
            hex::encode(&*seed),
            "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf14163\
             0c7a3c4ab7c81b2f001698e7463b04"
        );
        assert!(seed_of(&phrase.replace("about", "abandon"), "").is_err());
        assert!(seed_of(&"word ".repeat(300), "").is_err());
    }
}
