//! Records in which cosigners set up a multisig together (BIP129): keys with signatures, and the descriptor agreed on.

use std::fmt;

use anya_primitives::Network;
use aws_lc_rs::{
    cipher::{AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey},
    digest, hmac,
    iv::FixedLength,
    pbkdf2,
};
use bitcoin::{
    Address,
    address::NetworkUnchecked,
    sign_message::{MessageSignature, signed_msg_hash},
};

use crate::{
    descriptor::{Keychain, Rules, WalletDescriptor},
    error::{Error, Result},
    key::{SECP, SignerKey},
};

/// The longest record that is read, in bytes.
pub const MAX_RECORD: usize = 64 * 1024;
/// The longest description of a key, in characters.
const MAX_DESCRIPTION: usize = 80;

const VERSION: &str = "BSMS 1.0";
const UNRESTRICTED: &str = "No path restrictions";
/// The BIP's password: the secret is the token, which takes the salt's place.
const PASSWORD: &[u8] = b"No SPOF";
const ROUNDS: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(2047);
const MAC: usize = 32;

/// The secret that a session's parties share.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// Records go in the clear.
    None,
    /// 64 bits.
    Standard([u8; 8]),
    /// 128 bits.
    Extended([u8; 16]),
}

/// Never shows the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "Token::None",
            Self::Standard(_) => "Token::Standard(…)",
            Self::Extended(_) => "Token::Extended(…)",
        })
    }
}

impl Token {
    /// Reads the hexadecimal form: `00`, 16 or 32 digits.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("token", "must be 00, 16 or 32 hexadecimal digits (BIP129)");
        let bytes = hex::decode(text).map_err(|_| wrong())?;
        match bytes.as_slice() {
            [0] => Ok(Self::None),
            bytes if bytes.len() == 8 => bytes.try_into().map(Self::Standard).map_err(|_| wrong()),
            bytes if bytes.len() == 16 => bytes.try_into().map(Self::Extended).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    /// Reads the decimal form, which the BIP recommends for people: a number below 2^64 is a token of 64 bits where
    /// `extended` is not set.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no such number.
    pub fn parse_decimal(text: &str, extended: bool) -> Result<Self> {
        let wrong = || Error::invalid("token", "must be a decimal number of 64 bits, or of 128 (BIP129)");
        if extended {
            text.parse::<u128>().map(|number| Self::Extended(number.to_be_bytes())).map_err(|_| wrong())
        } else {
            text.parse::<u64>().map(|number| Self::Standard(number.to_be_bytes())).map_err(|_| wrong())
        }
    }

    /// The hexadecimal form, as records show it.
    pub fn to_hex(&self) -> String {
        match self {
            Self::None => "00".to_owned(),
            Self::Standard(bytes) => hex::encode(bytes),
            Self::Extended(bytes) => hex::encode(bytes),
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::None => None,
            Self::Standard(bytes) => Some(bytes),
            Self::Extended(bytes) => Some(bytes),
        }
    }

    /// Seals a record for who has the token: hexadecimal MAC and ciphertext. Without a secret, the record itself.
    ///
    /// # Errors
    /// [`Error::Internal`] when the cryptography library refuses.
    pub fn seal(&self, record: &str) -> Result<String> {
        let Some(secret) = self.bytes() else { return Ok(record.to_owned()) };
        let key = encryption_key(secret);
        let mac = self.mac(&key, record);
        let mut data = record.as_bytes().to_vec();
        let cipher = UnboundCipherKey::new(&AES_256, &key).and_then(EncryptingKey::ctr).map_err(internal)?;
        cipher.less_safe_encrypt(&mut data, EncryptionContext::Iv128(iv(mac.as_ref())?)).map_err(internal)?;
        Ok(hex::encode(mac.as_ref()) + &hex::encode(data))
    }

    /// Opens what [`Token::seal`] sealed.
    ///
    /// # Errors
    /// [`Error::Forged`] where the token is another one or the record was changed; [`Error::Invalid`] for what is no
    /// sealed record; [`Error::TooLarge`].
    pub fn open(&self, sealed: &str) -> Result<String> {
        let field = "record";
        let sealed = sealed.trim_end();
        if sealed.len() > 2 * MAX_RECORD {
            return Err(Error::TooLarge { field: field.into(), limit: MAX_RECORD, unit: "bytes" });
        }
        let Some(secret) = self.bytes() else { return Ok(sealed.to_owned()) };
        let mut data = hex::decode(sealed).ok().filter(|data| data.len() > MAC).ok_or_else(|| {
            Error::invalid(field, "is not an encrypted BSMS record: it must be hexadecimal")
        })?;
        let mut text = data.split_off(MAC);
        let key = encryption_key(secret);
        let cipher = UnboundCipherKey::new(&AES_256, &key).and_then(DecryptingKey::ctr).map_err(internal)?;
        cipher.decrypt(&mut text, DecryptionContext::Iv128(iv(&data)?)).map_err(internal)?;
        let forged = || Error::Forged { field: field.into() };
        let text = String::from_utf8(text).map_err(|_| forged())?;
        let tagged = self.to_hex() + &text;
        let mac_key = hmac::Key::new(hmac::HMAC_SHA256, digest::digest(&digest::SHA256, &key).as_ref());
        hmac::verify(&mac_key, tagged.as_bytes(), &data).map_err(|_| forged())?;
        Ok(text)
    }

    fn mac(&self, key: &[u8; 32], record: &str) -> hmac::Tag {
        let mac_key = hmac::Key::new(hmac::HMAC_SHA256, digest::digest(&digest::SHA256, key).as_ref());
        hmac::sign(&mac_key, (self.to_hex() + record).as_bytes())
    }
}

fn encryption_key(secret: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ROUNDS, secret, PASSWORD, &mut key);
    key
}

fn iv(mac: &[u8]) -> Result<FixedLength<16>> {
    mac.first_chunk::<16>().map(FixedLength::from).ok_or_else(|| Error::internal("a MAC has 32 bytes"))
}

fn internal(error: aws_lc_rs::error::Unspecified) -> Error {
    Error::internal(error)
}

/// A signer's key with its proof of possession (round 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The session's token.
    pub token: Token,
    /// The key.
    pub key: SignerKey,
    /// What the signer calls it, at most 80 characters.
    pub description: String,
    /// The signature over the rest, Base64.
    pub signature: String,
}

impl KeyRecord {
    /// What a signer signs for its record, as a signed message (legacy format): the record's first four lines.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a description that is too long or has line breaks.
    pub fn message(token: &Token, key: &SignerKey, description: &str) -> Result<String> {
        if description.chars().count() > MAX_DESCRIPTION || description.chars().any(char::is_control) {
            return Err(Error::invalid(
                "description",
                format!("must have at most {MAX_DESCRIPTION} characters and no line breaks"),
            ));
        }
        Ok(format!("{VERSION}\n{}\n{}\n{description}", token.to_hex(), key_text(key)))
    }

    /// Reads a record and verifies its signature.
    ///
    /// # Errors
    /// [`Error::BadSignature`]; [`Error::Unsupported`] for another version, or a signature in BIP322's own format;
    /// [`Error::Invalid`], [`Error::PrivateKey`], [`Error::WrongNetwork`].
    pub fn parse(text: &str, network: Network) -> Result<Self> {
        let [version, token, key_line, description, signature] = lines(text)?;
        check_version(version)?;
        let record = Self {
            token: Token::parse(token)?,
            key: SignerKey::parse("key", key_line, network)?,
            description: description.to_owned(),
            signature: signature.to_owned(),
        };
        Self::message(&record.token, &record.key, description)?;
        // Over the lines as they came: the signer may have written its path in another way than ours.
        record.verify(&format!("{version}\n{token}\n{key_line}\n{description}"))?;
        Ok(record)
    }

    fn verify(&self, message: &str) -> Result<()> {
        let signature = MessageSignature::from_base64(&self.signature).map_err(|_| {
            Error::unsupported(
                "signature",
                "a signature that is not in the legacy format of signed messages",
                "have the signer sign in the legacy format (65 bytes in Base64)",
            )
        })?;
        let bad = || Error::BadSignature { field: "signature".into() };
        let signer = signature.recover_pubkey(&SECP, signed_msg_hash(message)).map_err(|_| bad())?;
        if signer.inner == self.key.public_key().inner { Ok(()) } else { Err(bad()) }
    }
}

/// The record's text.
impl fmt::Display for KeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}\n{}\n{}\n", self.token.to_hex(), key_text(&self.key))?;
        write!(f, "{}\n{}", self.description, self.signature)
    }
}

/// The BIP's own vectors have apostrophes for hardened steps.
fn key_text(key: &SignerKey) -> String {
    let text = key.to_string();
    match text.split_once(']') {
        Some((origin, key)) => format!("{}]{key}", origin.replace('h', "'")),
        None => text,
    }
}

/// Reads the descriptor that a coordinator sends (round 2), and checks that it makes the address that is beside it.
///
/// # Errors
/// [`Error::Invalid`] for a record that is not well-formed or whose first address is another; [`Error::Unsupported`] for
/// another version or more than two path restrictions; besides, as [`WalletDescriptor::parse`].
pub fn read_descriptor(text: &str, rules: &Rules) -> Result<WalletDescriptor> {
    let [version, template, restrictions, first] = lines(text)?;
    check_version(version)?;
    let descriptor = if restrictions == UNRESTRICTED {
        if template.contains("/**") {
            return Err(Error::invalid(
                "path_restrictions",
                "are missing, though the descriptor is a template",
            ));
        }
        WalletDescriptor::parse(template, rules)?
    } else {
        if !template.contains("/**") || template.contains('#') {
            return Err(Error::invalid(
                "descriptor",
                "has path restrictions, and is no template (/**) for them",
            ));
        }
        let paths: Vec<&str> = restrictions.split(',').map(str::trim).collect();
        if paths.iter().any(|path| !is_restriction(path)) {
            return Err(Error::invalid("path_restrictions", "must be paths such as /0/*,/1/*"));
        }
        let expand = |path: &str| template.replace("/**", path);
        match paths.as_slice() {
            [only] => WalletDescriptor::parse(&expand(only), rules)?,
            [receive, change] => WalletDescriptor::from_pair(&expand(receive), &expand(change), rules)?,
            _ => {
                return Err(Error::unsupported(
                    "path_restrictions",
                    "more than two paths",
                    "use one for receive and one for change: /0/*,/1/*",
                ));
            }
        }
    };
    let unchecked: Address<NetworkUnchecked> =
        first.parse().map_err(|_| Error::invalid("first_address", "is not a Bitcoin address"))?;
    let first = unchecked
        .require_network(bitcoin::Network::from(rules.network))
        .map_err(|_| Error::WrongNetwork { field: "first_address".into(), network: rules.network })?;
    if first != descriptor.address(Keychain::Receive, 0)? {
        return Err(Error::invalid(
            "first_address",
            "is not what the descriptor makes: somebody changed one of them; compare with the other signers",
        ));
    }
    Ok(descriptor)
}

/// The record of a descriptor for its signers (round 2).
///
/// # Errors
/// [`Error::Internal`]: every sound descriptor has an address.
pub fn write_descriptor(descriptor: &WalletDescriptor) -> Result<String> {
    let first = descriptor.address(Keychain::Receive, 0)?;
    let text = format!("{:#}", descriptor.whole());
    let template = text.replace("/<0;1>/*", "/**");
    let every = descriptor.keys().iter().filter(|key| key.has_wildcard()).count();
    if every > 0 && template.matches("/**").count() == every && !template.contains('<') {
        return Ok(format!("{VERSION}\n{template}\n/0/*,/1/*\n{first}"));
    }
    Ok(format!("{VERSION}\n{descriptor}\n{UNRESTRICTED}\n{first}"))
}

fn is_restriction(path: &str) -> bool {
    let step =
        |step: &str| step == "*" || (!step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()));
    path.strip_prefix('/').is_some_and(|steps| steps.split('/').all(step))
}

fn check_version(version: &str) -> Result<()> {
    if version == VERSION {
        return Ok(());
    }
    Err(Error::unsupported(
        "version",
        format!("a record that does not begin with {VERSION}"),
        format!("give one of {VERSION}"),
    ))
}

/// Exactly so many lines, the last with or without a line break.
fn lines<const N: usize>(text: &str) -> Result<[&str; N]> {
    if text.len() > MAX_RECORD {
        return Err(Error::TooLarge { field: "record".into(), limit: MAX_RECORD, unit: "bytes" });
    }
    let lines: Vec<&str> = text.trim_end_matches(['\n', '\r']).lines().collect();
    lines.try_into().map_err(|lines: Vec<&str>| {
        Error::invalid("record", format!("has {} lines, where {N} are needed (BIP129)", lines.len()))
    })
}
