//! The host's end of the secure channel: GlobalPlatform SCP03 (GPC_SPE_014) as Yubico documents it for the device.

use aws_lc_rs::{
    cipher::{AES_128, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey},
    cmac,
    constant_time::verify_slices_are_equal,
    error::Unspecified,
    iv::FixedLength,
    pbkdf2,
};
use std::num::NonZeroU32;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, Result};

const BLOCK: usize = 16;
/// Length of challenges, cryptograms and MACs, in bytes.
pub(crate) const SHORT: usize = 8;
pub(crate) const SESSION_MESSAGE: u8 = 0x05;

/// The long-lived keys of an authentication key: for encryption, for MACs.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct StaticKeys {
    enc: [u8; BLOCK],
    mac: [u8; BLOCK],
}

impl StaticKeys {
    /// Derives them from a password as Yubico's tools do: PBKDF2-HMAC-SHA-256, salt `Yubico`, 10,000 rounds.
    pub(crate) fn from_password(password: &str) -> Self {
        const ROUNDS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
        let mut both = Zeroizing::new([0; 2 * BLOCK]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, b"Yubico", password.as_bytes(), both.as_mut());
        let (mut enc, mut mac) = ([0; BLOCK], [0; BLOCK]);
        enc.copy_from_slice(&both[..BLOCK]);
        mac.copy_from_slice(&both[BLOCK..]);
        Self { enc, mac }
    }
}

/// The keys of one session, and where its channel stands.
#[derive(ZeroizeOnDrop)]
pub(crate) struct Channel {
    enc: [u8; BLOCK],
    mac: [u8; BLOCK],
    rmac: [u8; BLOCK],
    chaining: [u8; BLOCK],
    context: [u8; BLOCK],
    #[zeroize(skip)]
    counter: u128,
}

impl Channel {
    pub(crate) fn new(
        keys: &StaticKeys,
        host_challenge: [u8; SHORT],
        card_challenge: [u8; SHORT],
    ) -> Result<Self> {
        let mut context = [0; BLOCK];
        context[..SHORT].copy_from_slice(&host_challenge);
        context[SHORT..].copy_from_slice(&card_challenge);
        Ok(Self {
            enc: derive(&keys.enc, 0x04, 0x80, &context)?,
            mac: derive(&keys.mac, 0x06, 0x80, &context)?,
            rmac: derive(&keys.mac, 0x07, 0x80, &context)?,
            chaining: [0; BLOCK],
            context,
            counter: 1,
        })
    }

    /// Whether the device showed that it has the keys.
    pub(crate) fn is_card(&self, cryptogram: &[u8]) -> Result<bool> {
        let own = derive(&self.mac, 0x00, 0x40, &self.context)?;
        Ok(verify_slices_are_equal(&own[..SHORT], cryptogram).is_ok())
    }

    /// What shows the device that we have them.
    pub(crate) fn host_cryptogram(&self) -> Result<[u8; SHORT]> {
        let mut short = [0; SHORT];
        short.copy_from_slice(&derive(&self.mac, 0x01, 0x40, &self.context)?[..SHORT]);
        Ok(short)
    }

    /// A message of the session with its MAC.
    pub(crate) fn signed(&mut self, code: u8, session: u8, data: &[u8]) -> Result<Vec<u8>> {
        let head = head(code, session, data.len())?;
        self.chaining = mac(&self.mac, &[&self.chaining, &head, data])?;
        Ok([&head[..], data, &self.chaining[..SHORT]].concat())
    }

    /// An inner command, encrypted and with its MAC.
    pub(crate) fn seal(&mut self, session: u8, command: &[u8]) -> Result<Vec<u8>> {
        let mut data = Zeroizing::new(command.to_vec());
        data.push(0x80);
        let whole = data.len().next_multiple_of(BLOCK);
        data.resize(whole, 0);
        let iv = self.icv()?;
        let key = UnboundCipherKey::new(&AES_128, &self.enc).and_then(EncryptingKey::cbc).map_err(failed)?;
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        key.less_safe_encrypt(&mut data, context).map_err(failed)?;
        self.signed(SESSION_MESSAGE, session, &data)
    }

    /// The inner answer to the command sealed last.
    pub(crate) fn open(&mut self, session: u8, message: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let body = message.len().checked_sub(4 + SHORT).ok_or(Error::Protocol("it is too short"))?;
        let (found, rest) = message.split_at(4);
        let (data, tag) = rest.split_at(body);
        if found != head(SESSION_MESSAGE | 0x80, session, body)? {
            return Err(Error::Protocol("its header is not what was asked for"));
        }
        let own = mac(&self.rmac, &[&self.chaining, found, data])?;
        verify_slices_are_equal(&own[..SHORT], tag).map_err(|_| Error::Protocol("its MAC is wrong"))?;
        let context = DecryptionContext::Iv128(FixedLength::from(self.icv()?));
        let key = UnboundCipherKey::new(&AES_128, &self.enc).and_then(DecryptingKey::cbc).map_err(failed)?;
        let mut data = Zeroizing::new(data.to_vec());
        key.decrypt(&mut data, context).map_err(|_| Error::Protocol("it does not decrypt"))?;
        let end = data.iter().rposition(|byte| *byte != 0).filter(|end| data[*end] == 0x80);
        data.truncate(end.ok_or(Error::Protocol("its padding is wrong"))?);
        self.counter += 1;
        Ok(data)
    }

    fn icv(&self) -> Result<[u8; BLOCK]> {
        let mut block = self.counter.to_be_bytes();
        let key = UnboundCipherKey::new(&AES_128, &self.enc).and_then(EncryptingKey::ecb).map_err(failed)?;
        key.less_safe_encrypt(&mut block, EncryptionContext::None).map_err(failed)?;
        Ok(block)
    }
}

/// Command, length of what follows with session and MAC, session.
fn head(code: u8, session: u8, data: usize) -> Result<[u8; 4]> {
    let length = u16::try_from(1 + data + SHORT).map_err(|_| Error::Internal("a message is too long"))?;
    let [high, low] = length.to_be_bytes();
    Ok([code, high, low, session])
}

/// The derivation of SCP03, 4.1.5: AES-CMAC in counter mode (SP 800-108).
fn derive(key: &[u8; BLOCK], constant: u8, bits: u16, context: &[u8; BLOCK]) -> Result<[u8; BLOCK]> {
    let [high, low] = bits.to_be_bytes();
    mac(key, &[&[0; 11], &[constant, 0, high, low, 1], context])
}

fn mac(key: &[u8; BLOCK], parts: &[&[u8]]) -> Result<[u8; BLOCK]> {
    let key = cmac::Key::new(cmac::AES_128, key).map_err(failed)?;
    let mut context = cmac::Context::with_key(&key);
    for part in parts {
        context.update(part).map_err(failed)?;
    }
    let tag = context.sign().map_err(failed)?;
    tag.as_ref().try_into().map_err(|_| Error::Internal("AES-CMAC is not 16 bytes long"))
}

fn failed(_: Unspecified) -> Error {
    Error::Internal("a primitive of the secure channel failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Published by Yubico in yubihsm.h: the halves of the key `password`.
    #[test]
    fn the_password_of_new_devices() {
        let keys = StaticKeys::from_password("password");
        assert_eq!(hex::encode(keys.enc), "090b47dbed595654901dee1cc655e420");
        assert_eq!(hex::encode(keys.mac), "592fd483f759e29909a04c4505d2ce0a");
    }

    // RFC 4493, section 4, example 2.
    #[test]
    fn macs_are_aes_cmac() {
        let key = hex::decode("2b7e151628aed2a6abf7158809cf4f3c").unwrap().try_into().unwrap();
        let message = hex::decode("6bc1bee22e409f96e93d7e117393172a").unwrap();
        let tag = mac(&key, &[&message[..5], &message[5..]]).unwrap();
        assert_eq!(hex::encode(tag), "070a16b46b4d4144f79bdd9dd04a287c");
    }

    fn answer(channel: &Channel, inner: &[u8]) -> Vec<u8> {
        let mut data = [inner, &[0x80]].concat();
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        let key = UnboundCipherKey::new(&AES_128, &channel.enc).and_then(EncryptingKey::cbc).unwrap();
        let context = EncryptionContext::Iv128(FixedLength::from(channel.icv().unwrap()));
        key.less_safe_encrypt(&mut data, context).unwrap();
        let head = head(SESSION_MESSAGE | 0x80, 3, data.len()).unwrap();
        let tag = mac(&channel.rmac, &[&channel.chaining, &head, &data]).unwrap();
        [&head[..], &data, &tag[..SHORT]].concat()
    }

    #[test]
    fn an_answer_that_was_touched_is_refused() {
        let keys = StaticKeys { enc: [1; 16], mac: [2; 16] };
        let mut channel = Channel::new(&keys, [3; 8], [4; 8]).unwrap();
        channel.seal(3, b"\x01\x00\x00").unwrap();
        let good = answer(&channel, b"\x81\x00\x01x");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(matches!(channel.open(3, &bad), Err(Error::Protocol(_))), "byte {at}");
        }
        assert!(channel.open(3, &good[..11]).is_err());
        assert_eq!(channel.open(3, &good).unwrap().as_slice(), b"\x81\x00\x01x");
        assert!(channel.open(3, &good).is_err(), "an answer is good once: the next has another counter");
    }
}
