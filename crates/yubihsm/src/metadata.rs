//! How Yubico's PKCS#11 module names a key whose label is longer than the 40 bytes that the device keeps: an opaque object
//! beside the key holds the whole label. Ours always are longer.

use std::fmt::Write as _;

use anya_provider::KeyContext;

/// Longest label that the device keeps itself, in bytes.
pub(crate) const LABEL: usize = 40;
const MAGIC: &[u8; 4] = b"MDB1";
/// The private key's `CKA_LABEL`, and the public key's.
const PRIVATE_LABEL: u8 = 2;
const PUBLIC_LABEL: u8 = 4;

/// Which object of the device is meant: the sequence tells it from earlier ones with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: u8,
    pub(crate) id: u16,
    pub(crate) sequence: u8,
}

/// The label under which the PKCS#11 provider keeps a key.
pub(crate) fn key_label(ctx: &KeyContext) -> String {
    format!("anya/{}/{}/{}", ctx.tenant, ctx.key, ctx.version)
}

/// A label as the device keeps it: cut, or padded with zeros.
pub(crate) fn device_label(label: &str) -> [u8; LABEL] {
    let mut out = [0; LABEL];
    out.iter_mut().zip(label.as_bytes()).for_each(|(to, from)| *to = *from);
    out
}

impl Target {
    /// The label of the opaque object that describes this one.
    pub(crate) fn companion_label(&self) -> String {
        let mut label = "Meta object for 0x".to_owned();
        let _ = write!(label, "{:02x}{:02x}{:04x}", self.sequence, self.kind, self.id);
        label
    }

    /// What that object holds.
    pub(crate) fn describe(&self, label: &str) -> Option<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        out.push(self.kind);
        out.extend(self.id.to_be_bytes());
        out.push(self.sequence);
        let [high, low] = u16::try_from(label.len()).ok()?.to_be_bytes();
        for tag in [PRIVATE_LABEL, PUBLIC_LABEL] {
            out.extend([tag, high, low]);
            out.extend(label.as_bytes());
        }
        Some(out)
    }
}

/// The object that an opaque object describes, and its private key's label; nothing when it describes none.
pub(crate) fn read(bytes: &[u8]) -> Option<(Target, &[u8])> {
    let (head, mut rest) = bytes.split_at_checked(8)?;
    let [m0, m1, m2, m3, kind, high, low, sequence] = *head else { return None };
    if [m0, m1, m2, m3] != *MAGIC {
        return None;
    }
    let target = Target { kind, id: u16::from_be_bytes([high, low]), sequence };
    while let [tag, high, low, values @ ..] = rest {
        let (value, after) = values.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        if *tag == PRIVATE_LABEL {
            return Some((target, value));
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As release 2.6 of Yubico's module wrote it, with a shorter label.
    #[test]
    fn the_modules_own_form_is_read_and_written() {
        let theirs = hex::decode("4d44423103cd6a0002000361626304000361626300").unwrap();
        let theirs = &theirs[..theirs.len() - 1];
        let target = Target { kind: 3, id: 0xcd6a, sequence: 0 };
        assert_eq!(read(theirs), Some((target, &b"abc"[..])));
        assert_eq!(target.describe("abc").unwrap(), theirs);
        assert_eq!(target.companion_label(), "Meta object for 0x0003cd6a");
        for end in 0..14 {
            assert!(read(&theirs[..end]).is_none(), "{end}");
        }
    }
}
