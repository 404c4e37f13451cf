//! The device's end of the secure channel: GlobalPlatform SCP03 (GPC_SPE_014) in the shape that Yubico documents, with
//! AES-128 and 8-byte MACs.

use aes::{
    Aes128, Block,
    cipher::{BlockDecryptMut, BlockEncrypt, BlockEncryptMut, KeyInit, KeyIvInit, block_padding::Iso7816},
};
use cmac::{Cmac, Mac};

use crate::codes::command::SESSION_MESSAGE;

/// Length of a challenge, a cryptogram and a truncated MAC.
pub(crate) const SHORT: usize = 8;

type Bytes = [u8; 16];

/// The session keys and where the channel stands.
pub(crate) struct Channel {
    enc: Bytes,
    mac: Bytes,
    rmac: Bytes,
    chaining: Bytes,
    counter: u128,
    host_cryptogram: [u8; SHORT],
    card_cryptogram: [u8; SHORT],
}

impl Channel {
    /// Derives the session keys from an authentication key (encryption half, MAC half) and both challenges.
    pub(crate) fn new(key: &[u8; 32], host_challenge: [u8; SHORT], card_challenge: [u8; SHORT]) -> Self {
        let (mut static_enc, mut static_mac, mut context) = ([0; 16], [0; 16], [0; 16]);
        static_enc.copy_from_slice(&key[..16]);
        static_mac.copy_from_slice(&key[16..]);
        context[..SHORT].copy_from_slice(&host_challenge);
        context[SHORT..].copy_from_slice(&card_challenge);
        let mac = derive(&static_mac, 0x06, 0x80, &context);
        Self {
            enc: derive(&static_enc, 0x04, 0x80, &context),
            mac,
            rmac: derive(&static_mac, 0x07, 0x80, &context),
            chaining: [0; 16],
            counter: 0,
            host_cryptogram: short(derive(&mac, 0x01, 0x40, &context)),
            card_cryptogram: short(derive(&mac, 0x00, 0x40, &context)),
        }
    }

    pub(crate) fn card_cryptogram(&self) -> [u8; SHORT] {
        self.card_cryptogram
    }

    pub(crate) fn host_cryptogram(&self) -> [u8; SHORT] {
        self.host_cryptogram
    }

    /// Checks the MAC of a command and moves the chain on. `head` is the command's header with its session id.
    pub(crate) fn accept(&mut self, head: [u8; 4], data: &[u8], tag: &[u8]) -> bool {
        let full = cmac(&self.mac, &[&self.chaining, &head, data]);
        let good = full[..SHORT] == *tag;
        if good {
            self.chaining = full;
        }
        good
    }

    /// The host has proved that it holds the key.
    pub(crate) fn authenticated(&mut self) {
        self.counter = 1;
    }

    pub(crate) fn decrypt(&self, data: &[u8]) -> Option<Vec<u8>> {
        cbc::Decryptor::<Aes128>::new(&self.enc.into(), &self.icv().into())
            .decrypt_padded_vec_mut::<Iso7816>(data)
            .ok()
    }

    /// The whole message that answers the command last accepted.
    pub(crate) fn seal(&mut self, session: u8, answer: &[u8]) -> Vec<u8> {
        let data = cbc::Encryptor::<Aes128>::new(&self.enc.into(), &self.icv().into())
            .encrypt_padded_vec_mut::<Iso7816>(answer);
        self.counter += 1;
        let [high, low] = u16::try_from(1 + data.len() + SHORT).unwrap_or(u16::MAX).to_be_bytes();
        let head = [SESSION_MESSAGE | 0x80, high, low, session];
        let tag = cmac(&self.rmac, &[&self.chaining, &head, &data]);
        [&head[..], &data, &tag[..SHORT]].concat()
    }

    fn icv(&self) -> Bytes {
        let mut block = Block::from(self.counter.to_be_bytes());
        Aes128::new(&self.enc.into()).encrypt_block(&mut block);
        block.into()
    }
}

/// The derivation of SCP03, 4.1.5: AES-CMAC in counter mode (SP 800-108) over label, length in bits and context.
fn derive(key: &Bytes, constant: u8, bits: u16, context: &Bytes) -> Bytes {
    let [high, low] = bits.to_be_bytes();
    cmac(key, &[&[0; 11], &[constant, 0, high, low, 1], context])
}

fn short(full: Bytes) -> [u8; SHORT] {
    let mut short = [0; SHORT];
    short.copy_from_slice(&full[..SHORT]);
    short
}

fn cmac(key: &Bytes, parts: &[&[u8]]) -> Bytes {
    let mut mac = <Cmac<Aes128> as Mac>::new(&(*key).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4493, section 4, examples 1 and 2.
    #[test]
    fn cmac_is_aes_cmac() {
        let key: Bytes = hex::decode("2b7e151628aed2a6abf7158809cf4f3c").unwrap().try_into().unwrap();
        assert_eq!(hex::encode(cmac(&key, &[])), "bb1d6929e95937287fa37d129b756746");
        let message = hex::decode("6bc1bee22e409f96e93d7e117393172a").unwrap();
        let (left, right) = message.split_at(5);
        assert_eq!(hex::encode(cmac(&key, &[left, right])), "070a16b46b4d4144f79bdd9dd04a287c");
    }

    #[test]
    fn a_command_is_accepted_once_and_unaltered() {
        let mut device = Channel::new(&[7; 32], [1; 8], [2; 8]);
        let head = [SESSION_MESSAGE, 0, 25, 0];
        let tag = cmac(&device.mac, &[&[0; 16], &head, &[5; 16]]);
        assert!(!device.accept(head, &[6; 16], &tag[..SHORT]));
        assert!(!device.accept([SESSION_MESSAGE, 0, 25, 1], &[5; 16], &tag[..SHORT]));
        assert!(device.accept(head, &[5; 16], &tag[..SHORT]));
        assert!(!device.accept(head, &[5; 16], &tag[..SHORT]), "a replay");
    }
}
