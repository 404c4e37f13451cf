//! BIP39 phrases: words for a seed, to be written down.

use bip39::{Language, Mnemonic};
use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

use anya_provider::{Error, Result};

/// The longest phrase or passphrase that is read, in bytes.
const MAX_TEXT: usize = 1024;

/// The English phrase of `entropy`, which is 16, 20, 24, 28 or 32 bytes long.
pub(crate) fn phrase_of(entropy: &[u8]) -> Result<SecretString> {
    let mnemonic = Mnemonic::from_entropy_in(Language::English, entropy)
        .map_err(|_| Error::invalid("words", "use 12, 15, 18, 21 or 24 words"))?;
    let mut phrase = Zeroizing::new(String::with_capacity(MAX_TEXT));
    for (index, word) in mnemonic.words().enumerate() {
        if index > 0 {
            phrase.push(' ');
        }
        phrase.push_str(word);
    }
    // An exact copy: shrinking the buffer in place could leave the words behind in the part cut off.
    Ok(SecretString::from(Box::<str>::from(phrase.as_str())))
}

/// The 64-byte seed of a phrase and its passphrase (BIP39, PBKDF2-HMAC-SHA512 with 2048 rounds).
pub(crate) fn seed_of(
    phrase: &SecretString,
    passphrase: Option<&SecretString>,
) -> Result<Zeroizing<Vec<u8>>> {
    let bad = |reason: &str| Error::invalid("mnemonic", reason);
    let given = phrase.expose_secret();
    if given.len() > MAX_TEXT {
        return Err(bad("it is longer than any phrase"));
    }
    // Single spaces and lower case; the word list is ASCII, so no further normalization applies.
    let mut words = Zeroizing::new(String::with_capacity(given.len() + 1));
    for word in given.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        word.chars().for_each(|letter| words.push(letter.to_ascii_lowercase()));
    }
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, &words).map_err(|error| match error {
        bip39::Error::BadWordCount(_) => bad("use 12, 15, 18, 21 or 24 words"),
        bip39::Error::InvalidChecksum => {
            bad("the checksum does not match: a word is wrong or in the wrong place")
        }
        // The library names the word's place, never the word.
        bip39::Error::UnknownWord(place) => {
            Error::invalid("mnemonic", format!("word {} is not in the English list", place + 1))
        }
        _ => bad("it is not an English BIP39 phrase"),
    })?;
    let passphrase = normalized(passphrase)?;
    let mut seed = mnemonic.to_seed_normalized(&passphrase);
    let copy = Zeroizing::new(seed.to_vec());
    seed.zeroize();
    Ok(copy)
}

/// The passphrase in Unicode's normal form KD, as BIP39 wants it, in a buffer that never grows.
fn normalized(passphrase: Option<&SecretString>) -> Result<Zeroizing<String>> {
    let text = passphrase.map(ExposeSecret::expose_secret).unwrap_or_default();
    if text.len() > MAX_TEXT {
        return Err(Error::invalid("mnemonic_passphrase", "at most 1024 bytes"));
    }
    let length = text.nfkd().map(char::len_utf8).sum();
    let mut normal = Zeroizing::new(String::with_capacity(length));
    // Letter by letter: `extend` reserves by the iterator's hint, and may move the buffer.
    text.nfkd().for_each(|letter| normal.push(letter));
    Ok(normal)
}
