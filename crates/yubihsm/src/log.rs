//! The device's log: every entry carries a hash over itself and the one before, so that whoever keeps a copy finds out
//! what is missing from the next piece, and what is forged in it.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Bytes of one entry as the device sends it.
const ENTRY: usize = 32;
/// The command of the entry with which a device's log begins after a reset.
const RESET: u8 = 0xff;

/// One entry of the device's log (GET LOG ENTRIES).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its number; after 65535 comes 0.
    pub number: u16,
    /// The command. 0 stands for a start of the device, 255 for a reset.
    pub command: u8,
    /// The length of the command's data, in bytes.
    pub length: u16,
    /// The authentication key of the session; 65535 where there was none.
    pub session_key: u16,
    /// The object that the command was about; 65535 where there was none.
    pub target_key: u16,
    /// The second such object; 65535 where there was none.
    pub second_key: u16,
    /// The command with its highest bit set when it succeeded, else the error.
    pub result: u8,
    /// When, in ticks of the device since it was started.
    pub tick: u32,
    /// The first 16 bytes of the SHA-256 of the fields above and the digest of the entry before.
    #[serde(with = "hex")]
    pub digest: [u8; 16],
}

impl LogEntry {
    fn read(bytes: &[u8; ENTRY]) -> Self {
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let mut digest = [0; 16];
        digest.copy_from_slice(&bytes[16..]);
        Self {
            number: u16_at(0),
            command: bytes[2],
            length: u16_at(3),
            session_key: u16_at(5),
            target_key: u16_at(7),
            second_key: u16_at(9),
            result: bytes[11],
            tick: u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]),
            digest,
        }
    }

    fn fields(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..2].copy_from_slice(&self.number.to_be_bytes());
        out[2] = self.command;
        out[3..5].copy_from_slice(&self.length.to_be_bytes());
        out[5..7].copy_from_slice(&self.session_key.to_be_bytes());
        out[7..9].copy_from_slice(&self.target_key.to_be_bytes());
        out[9..11].copy_from_slice(&self.second_key.to_be_bytes());
        out[11] = self.result;
        out[12..].copy_from_slice(&self.tick.to_be_bytes());
        out
    }

    fn follows(&self, before: &[u8; 16]) -> bool {
        let hash = digest(&SHA256, &[self.fields(), *before].concat());
        hash.as_ref().starts_with(&self.digest)
    }

    /// Where the log stands after this entry.
    pub fn mark(&self) -> LogMark {
        LogMark { number: self.number, digest: self.digest }
    }
}

/// Where the caller's copy of the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMark {
    /// The number of its last entry.
    pub number: u16,
    /// The digest of its last entry.
    #[serde(with = "hex")]
    pub digest: [u8; 16],
}

/// What is wrong with a log that a device showed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// Entries are missing: they were overwritten before anybody drained them, or withheld.
    #[error(
        "the device's log has a gap: entry {expected} should come, and {found} does; drain it more often, and set \
         force-audit so that the device waits"
    )]
    Gap {
        /// The number that should come next.
        expected: u16,
        /// The number that comes.
        found: u16,
    },
    /// An entry does not follow from the one before it.
    #[error(
        "entry {number} of the device's log does not follow from the one before: it or that one was altered"
    )]
    Forged {
        /// The entry.
        number: u16,
    },
    /// An entry that the caller has is shown with another digest.
    #[error("entry {number} of the device's log is not the one that was drained: the log was rewritten")]
    Rewritten {
        /// The entry.
        number: u16,
    },
    /// The log begins anew.
    #[error("the device was reset to its factory state: its log begins anew, and its keys are gone")]
    Reset,
    /// The log does not tell of the very session in which it was read, although such sessions are logged.
    #[error("the device's log does not tell of the session that reads it: its end is withheld")]
    Withheld,
}

/// Checks what a device shows against the copy that ends with `after`, and gives the entries that are new.
///
/// Without a copy the first entry is taken for what it is: nothing can be said of it.
///
/// # Errors
/// The first [`LogFault`], in the order of the entries.
pub fn follow<'a>(after: Option<&LogMark>, shown: &'a [LogEntry]) -> Result<&'a [LogEntry], LogFault> {
    let Some(first) = shown.first() else { return Ok(shown) };
    let new = match after {
        None => shown,
        Some(mark) => match shown.iter().position(|entry| entry.number == mark.number) {
            Some(at) if shown[at].digest == mark.digest => &shown[at + 1..],
            _ if first.number == 1 && first.command == RESET => return Err(LogFault::Reset),
            Some(at) => return Err(LogFault::Rewritten { number: shown[at].number }),
            None => {
                let expected = mark.number.wrapping_add(1);
                if first.number != expected {
                    return Err(LogFault::Gap { expected, found: first.number });
                }
                if !first.follows(&mark.digest) {
                    return Err(LogFault::Forged { number: first.number });
                }
                shown
            }
        },
    };
    for pair in shown.windows(2) {
        let [before, entry] = pair else { continue };
        let expected = before.number.wrapping_add(1);
        if entry.number != expected {
            return Err(LogFault::Gap { expected, found: entry.number });
        }
        if !entry.follows(&before.digest) {
            return Err(LogFault::Forged { number: entry.number });
        }
    }
    Ok(new)
}

/// What came out of the device's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The new entries, oldest first; each follows from the one before.
    pub entries: Vec<LogEntry>,
    /// Starts of the device that found no room in the log.
    pub unlogged_boots: u16,
    /// Sessions that found no room in the log.
    pub unlogged_authentications: u16,
}

impl Drained {
    /// Where the log stands now: the mark to acknowledge once the entries are stored; nothing when none is new.
    pub fn mark(&self) -> Option<LogMark> {
        self.entries.last().map(LogEntry::mark)
    }
}

/// The answer to GET LOG ENTRIES.
pub(crate) fn read(answer: &[u8]) -> Result<Drained> {
    let malformed = Error::Protocol("its log is malformed");
    let [b1, b0, a1, a0, count, rest @ ..] = answer else { return Err(malformed) };
    let (entries, left) = rest.as_chunks::<ENTRY>();
    if !left.is_empty() || entries.len() != usize::from(*count) {
        return Err(malformed);
    }
    Ok(Drained {
        entries: entries.iter().map(LogEntry::read).collect(),
        unlogged_boots: u16::from_be_bytes([*b1, *b0]),
        unlogged_authentications: u16::from_be_bytes([*a1, *a0]),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example in Yubico's documentation of GET LOG ENTRIES, taken from a device.
    fn example() -> Vec<LogEntry> {
        let entry = |number,
                     command,
                     length,
                     session_key,
                     target_key,
                     second_key,
                     result,
                     tick,
                     digest: &str| {
            let digest = hex::decode(digest).unwrap().try_into().unwrap();
            LogEntry { number, command, length, session_key, target_key, second_key, result, tick, digest }
        };
        vec![
            entry(46, 0x4b, 234, 1, 0xcf94, 0x997e, 0xcb, 335_725, "415f51f1f035a1b713e730e4464e4033"),
            entry(47, 0x4c, 77, 1, 0xaff7, 0xffff, 0xcc, 351_714, "5496a60d478c2b9c801d8d32ca66b554"),
            entry(48, 0, 0, 0xffff, 0, 0, 0, 0, "14ac7747ba9bbb243cfc70befeb5349b"),
            entry(49, 3, 10, 0xffff, 1, 0xffff, 0x83, 139, "b20a8f25c025e693a8e869b433294a20"),
            entry(50, 4, 17, 0xffff, 1, 0xffff, 0x84, 139, "ebfae425c319ac7a0afbb8b92597de7c"),
            entry(51, 0x67, 2, 1, 0xffff, 0xffff, 0xe7, 697, "2e395d1b706668737e1d2215813db47e"),
        ]
    }

    #[test]
    fn a_devices_own_log_holds() {
        let log = example();
        assert_eq!(follow(None, &log), Ok(&log[..]));
        assert_eq!(follow(Some(&log[2].mark()), &log), Ok(&log[3..]));
        assert_eq!(follow(Some(&log[2].mark()), &log[3..]), Ok(&log[3..]));
        assert_eq!(follow(Some(&log[5].mark()), &log), Ok(&log[6..]));
        assert_eq!(follow(Some(&log[5].mark()), &[]), Ok(&[][..]));
    }

    #[test]
    fn what_is_missing_or_altered_is_named() {
        let log = example();
        let gap = |expected, found| Err(LogFault::Gap { expected, found });
        assert_eq!(follow(Some(&log[1].mark()), &log[3..]), gap(48, 49), "overwritten");
        let mut cut = log.clone();
        cut.remove(3);
        assert_eq!(follow(Some(&log[0].mark()), &cut), gap(49, 50));
        let rewritten = LogMark { digest: [0; 16], ..log[2].mark() };
        assert_eq!(follow(Some(&rewritten), &log), Err(LogFault::Rewritten { number: 48 }));
        assert_eq!(follow(Some(&rewritten), &log[3..]), Err(LogFault::Forged { number: 49 }));
        let reset = LogEntry { number: 1, command: RESET, ..log[0].clone() };
        assert_eq!(follow(Some(&log[5].mark()), &[reset]), Err(LogFault::Reset));
    }

    proptest! {
        #[test]
        fn no_altered_bit_goes_unseen(entry in 1usize..6, byte in 0usize..ENTRY, bit in 0u8..8) {
            let mut log = example();
            let mut bytes = [log[entry].fields(), log[entry].digest].concat();
            bytes[byte] ^= 1 << bit;
            log[entry] = LogEntry::read(bytes.as_slice().try_into().unwrap());
            prop_assert!(follow(Some(&example()[0].mark()), &log).is_err());
        }

        #[test]
        fn answers_of_any_form_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn an_answer_holds_as_many_entries_as_it_says() {
        let log = example();
        let mut answer = vec![0, 1, 0, 2, 2];
        for entry in &log[..2] {
            answer.extend([entry.fields(), entry.digest].concat());
        }
        let drained = read(&answer).unwrap();
        assert_eq!((drained.unlogged_boots, drained.unlogged_authentications), (1, 2));
        assert_eq!(drained.entries, log[..2]);
        answer[4] = 3;
        assert!(read(&answer).is_err());
    }
}
