//! Extended public keys whose prefix names a script (SLIP-132), and plain ones (BIP32).

use bitcoin::{NetworkKind, base58, bip32::Xpub};

use crate::error::{Error, Result};

/// The script that an extended key's prefix names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// `xpub`, `tpub`: none.
    Plain,
    /// `ypub`, `upub`: `sh(wpkh)`.
    ShWpkh,
    /// `zpub`, `vpub`: `wpkh`.
    Wpkh,
    /// `Ypub`, `Upub`: a multisig in `sh(wsh)`.
    ShWsh,
    /// `Zpub`, `Vpub`: a multisig in `wsh`.
    Wsh,
}

/// Versions of public keys as SLIP-132 registers them: on mainnet, elsewhere.
const PUBLIC: [(Prefix, u32, u32); 5] = [
    (Prefix::Plain, 0x0488_b21e, 0x0435_87cf),
    (Prefix::ShWpkh, 0x049d_7cb2, 0x044a_5262),
    (Prefix::Wpkh, 0x04b2_4746, 0x045f_1cf6),
    (Prefix::ShWsh, 0x0295_b43f, 0x0242_89ef),
    (Prefix::Wsh, 0x02aa_7ed3, 0x0257_5483),
];

/// Versions of private keys, which are refused.
const PRIVATE: [u32; 10] = [
    0x0488_ade4,
    0x0435_8394,
    0x049d_7878,
    0x044a_4e28,
    0x04b2_430c,
    0x045f_18bc,
    0x0295_b005,
    0x0242_85b5,
    0x02aa_7a99,
    0x0257_5048,
];

/// Reads an extended public key under any of the registered prefixes.
///
/// # Errors
/// [`Error::PrivateKey`] for a private one; [`Error::Invalid`] for anything else.
pub fn parse(field: &str, text: &str) -> Result<(Xpub, Prefix)> {
    let wrong =
        || Error::invalid(field, "is not an extended public key (xpub…): check it for typing mistakes");
    // 82 bytes in base58: longer ones are not worth decoding.
    if text.len() > 120 {
        return Err(wrong());
    }
    let mut data = base58::decode_check(text).map_err(|_| wrong())?;
    let version = data.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(wrong)?;
    if PRIVATE.contains(&version) {
        return Err(Error::PrivateKey { field: field.to_owned() });
    }
    let (prefix, main, test) =
        PUBLIC.into_iter().find(|(_, main, test)| version == *main || version == *test).ok_or_else(wrong)?;
    let plain = if version == main { PUBLIC[0].1 } else { PUBLIC[0].2 };
    debug_assert!(version == main || version == test);
    if let Some(bytes) = data.first_chunk_mut::<4>() {
        *bytes = plain.to_be_bytes();
    }
    Xpub::decode(&data).map(|xpub| (xpub, prefix)).map_err(|_| wrong())
}

/// Writes a key under the prefix of `prefix`, as wallets want it that tell scripts by it.
pub fn format(xpub: &Xpub, prefix: Prefix) -> String {
    let (_, main, test) = PUBLIC.into_iter().find(|(other, ..)| *other == prefix).unwrap_or(PUBLIC[0]);
    let version = if xpub.network == NetworkKind::Main { main } else { test };
    let mut data = xpub.encode();
    if let Some(bytes) = data.first_chunk_mut::<4>() {
        *bytes = version.to_be_bytes();
    }
    base58::encode_check(&data)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIP84's and BIP49's own account keys, and Electrum's names of the multisig prefixes.
    const ZPUB: &str = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs";
    const UPUB: &str = "upub5EFU65HtV5TeiSHmZZm7FUffBGy8UKeqp7vw43jYbvZPpoVsgU93oac7Wk3u6moKegAEWtGNF8DehrnHtv21XXEMYRUocHqguyjknFHYfgY";

    #[test]
    fn prefixes_are_read_and_written() {
        for (text, prefix, start) in [(ZPUB, Prefix::Wpkh, "xpub"), (UPUB, Prefix::ShWpkh, "tpub")] {
            let (xpub, read) = parse("key", text).unwrap();
            assert_eq!(read, prefix);
            assert!(xpub.to_string().starts_with(start));
            assert_eq!(format(&xpub, prefix), text);
            assert_eq!(format(&xpub, Prefix::Plain), xpub.to_string());
            for (other, start) in [(Prefix::ShWsh, ["Y", "U"]), (Prefix::Wsh, ["Z", "V"])] {
                let text = format(&xpub, other);
                assert!(start.iter().any(|start| text.starts_with(start)), "{text}");
                assert_eq!(parse("key", &text).unwrap(), (xpub, other));
            }
        }
    }

    #[test]
    fn private_and_damaged_keys_are_refused() {
        // BIP84's own account private key.
        let zprv = "zprvAdG4iTXWBoARxkkzNpNh8r6Qag3irQB8PzEMkAFeTRXxHpbF9z4QgEvBRmfvqWvGp42t42nvgGpNgYSJA9iefm1yYNZKEm7z6qUWCroSQnE";
        assert_eq!(parse("key", zprv), Err(Error::PrivateKey { field: "key".into() }));
        let mut damaged = ZPUB.to_owned();
        damaged.replace_range(30..31, "x");
        assert!(matches!(parse("key", &damaged), Err(Error::Invalid { .. })));
        assert!(matches!(parse("key", &"z".repeat(5000)), Err(Error::Invalid { .. })));
    }
}
