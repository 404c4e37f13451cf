//! The device's audit log: 62 entries, each bound by a hash to the one before.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::codes::{DeviceError, command};

/// How many entries the device keeps.
pub(crate) const CAPACITY: usize = 62;

/// One entry of the audit log, as GET LOG ENTRIES gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its number; after 65535 comes 0.
    pub number: u16,
    /// The command.
    pub command: u8,
    /// The length of the command's data, in bytes.
    pub length: u16,
    /// The authentication key of the session; `0xffff` where there was none.
    pub session_key: u16,
    /// The object that the command was about; `0xffff` where there was none.
    pub target_key: u16,
    /// The second such object; `0xffff` where there was none.
    pub second_key: u16,
    /// The answer: the command with its highest bit set, or the error.
    pub result: u8,
    /// When, in the device's own ticks since it was started: here milliseconds.
    pub tick: u32,
    /// The first 16 bytes of the SHA-256 of this entry and the digest of the one before.
    #[serde(with = "hex")]
    pub digest: [u8; 16],
}

impl LogEntry {
    /// The fields without the digest, as they are sent and hashed.
    pub fn fields(&self) -> [u8; 16] {
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

    /// Computes the digest that follows `before`.
    pub fn chained(mut self, before: &[u8; 16]) -> Self {
        let hash = digest(&SHA256, &[self.fields(), *before].concat());
        self.digest.copy_from_slice(&hash.as_ref()[..16]);
        self
    }
}

/// What is logged of one command.
pub(crate) struct Event {
    pub(crate) command: u8,
    pub(crate) length: u16,
    pub(crate) session_key: u16,
    pub(crate) target_key: u16,
    pub(crate) second_key: u16,
    pub(crate) result: u8,
    pub(crate) tick: u32,
}

/// The store of entries, and which commands are logged.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Log {
    entries: Vec<LogEntry>,
    last_number: u16,
    #[serde(with = "hex")]
    last_digest: [u8; 16],
    unlogged_boots: u16,
    unlogged_authentications: u16,
    /// 0: when the store is full the oldest entry makes room. 1, and for good 2: then commands fail.
    pub(crate) force: u8,
    /// Commands that are not logged.
    quiet: Vec<u8>,
    /// Commands whose logging cannot be turned off any more.
    fixed: Vec<u8>,
}

impl Log {
    /// The log of a device that was just reset. Its first digest is random, as a device's appears to be.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        let first = Event {
            command: command::RESET_ENTRY,
            length: u16::MAX,
            session_key: u16::MAX,
            target_key: u16::MAX,
            second_key: u16::MAX,
            result: u8::MAX,
            tick: u32::MAX,
        };
        let mut log = Self {
            entries: Vec::new(),
            last_number: 0,
            last_digest: seed,
            unlogged_boots: 0,
            unlogged_authentications: 0,
            force: 0,
            quiet: command::QUIET.to_vec(),
            fixed: Vec::new(),
        };
        log.append(first);
        log.boot();
        log
    }

    pub(crate) fn used(&self) -> usize {
        self.entries.len()
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= CAPACITY
    }

    pub(crate) fn logs(&self, command: u8) -> bool {
        !self.quiet.contains(&command)
    }

    /// Whether a command may run although it might not find room in the log. Sessions are always opened, and the log
    /// can always be read and emptied.
    pub(crate) fn admits(&self, command: u8) -> bool {
        const ALWAYS: [u8; 4] = [
            command::CREATE_SESSION,
            command::AUTHENTICATE_SESSION,
            command::GET_LOG_ENTRIES,
            command::SET_LOG_INDEX,
        ];
        self.force == 0 || !self.is_full() || !self.logs(command) || ALWAYS.contains(&command)
    }

    /// The device was started.
    pub(crate) fn boot(&mut self) {
        if self.force != 0 && self.is_full() {
            self.unlogged_boots = self.unlogged_boots.saturating_add(1);
            return;
        }
        self.append(Event {
            command: command::BOOT,
            length: 0,
            session_key: u16::MAX,
            target_key: 0,
            second_key: 0,
            result: 0,
            tick: 0,
        });
    }

    /// Records a command, if commands of its sort are.
    pub(crate) fn record(&mut self, event: Event) {
        if !self.logs(event.command) {
            return;
        }
        if self.force != 0 && self.is_full() {
            if matches!(event.command, command::CREATE_SESSION | command::AUTHENTICATE_SESSION) {
                self.unlogged_authentications = self.unlogged_authentications.saturating_add(1);
            }
            return;
        }
        self.append(event);
    }

    fn append(&mut self, event: Event) {
        if self.is_full() {
            self.entries.remove(0);
        }
        self.last_number = self.last_number.wrapping_add(1);
        let entry = LogEntry {
            number: self.last_number,
            command: event.command,
            length: event.length,
            session_key: event.session_key,
            target_key: event.target_key,
            second_key: event.second_key,
            result: event.result,
            tick: event.tick,
            digest: [0; 16],
        }
        .chained(&self.last_digest);
        self.last_digest = entry.digest;
        self.entries.push(entry);
    }

    pub(crate) fn entries(&self) -> &[LogEntry] {
        &self.entries
    }

    /// The answer to GET LOG ENTRIES that shows `entries`.
    pub(crate) fn answer(&self, entries: &[LogEntry]) -> Vec<u8> {
        let mut out = self.unlogged_boots.to_be_bytes().to_vec();
        out.extend(self.unlogged_authentications.to_be_bytes());
        out.push(u8::try_from(entries.len()).unwrap_or(u8::MAX));
        for entry in entries {
            out.extend(entry.fields());
            out.extend(entry.digest);
        }
        out
    }

    /// Frees the entries up to the one with this number.
    pub(crate) fn set_index(&mut self, number: u16) -> Result<(), DeviceError> {
        let at = self.entries.iter().position(|entry| entry.number == number);
        self.entries.drain(..=at.ok_or(DeviceError::InvalidData)?);
        self.unlogged_boots = 0;
        self.unlogged_authentications = 0;
        Ok(())
    }

    /// Command and setting (0 off, 1 on, 2 on for good), for each command.
    pub(crate) fn options(&self) -> Vec<u8> {
        let setting = |command: &u8| match (self.fixed.contains(command), self.quiet.contains(command)) {
            (true, _) => 2,
            (_, true) => 0,
            _ => 1,
        };
        command::ALL.iter().flat_map(|command| [*command, setting(command)]).collect()
    }

    pub(crate) fn set_option(&mut self, command: u8, setting: u8) -> Result<(), DeviceError> {
        if !command::ALL.contains(&command) || setting > 2 || self.fixed.contains(&command) && setting != 2 {
            return Err(DeviceError::InvalidData);
        }
        self.quiet.retain(|quiet| *quiet != command);
        match setting {
            0 => self.quiet.push(command),
            2 if !self.fixed.contains(&command) => self.fixed.push(command),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in Yubico's documentation of GET LOG ENTRIES, taken from a device.
    #[test]
    fn the_chain_is_the_devices() {
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
        let log = [
            entry(46, 0x4b, 234, 1, 0xcf94, 0x997e, 0xcb, 335_725, "415f51f1f035a1b713e730e4464e4033"),
            entry(47, 0x4c, 77, 1, 0xaff7, 0xffff, 0xcc, 351_714, "5496a60d478c2b9c801d8d32ca66b554"),
            entry(48, 0, 0, 0xffff, 0, 0, 0, 0, "14ac7747ba9bbb243cfc70befeb5349b"),
            entry(49, 3, 10, 0xffff, 1, 0xffff, 0x83, 139, "b20a8f25c025e693a8e869b433294a20"),
            entry(50, 4, 17, 0xffff, 1, 0xffff, 0x84, 139, "ebfae425c319ac7a0afbb8b92597de7c"),
            entry(51, 0x67, 2, 1, 0xffff, 0xffff, 0xe7, 697, "2e395d1b706668737e1d2215813db47e"),
        ];
        for pair in log.windows(2) {
            assert_eq!(pair[1].clone().chained(&pair[0].digest), pair[1]);
        }
    }

    fn event(command: u8) -> Event {
        Event { command, length: 0, session_key: 1, target_key: 2, second_key: 3, result: 0, tick: 4 }
    }

    #[test]
    fn a_full_log_turns_round_or_holds_up() {
        let mut log = Log::new([3; 16]);
        for _ in 0..70 {
            assert!(log.admits(command::SIGN_ECDSA));
            log.record(event(command::SIGN_ECDSA));
        }
        assert_eq!(
            (log.used(), log.entries()[0].number),
            (CAPACITY, 11),
            "72 were written, and ten were lost"
        );
        log.force = 1;
        assert!(!log.admits(command::SIGN_ECDSA));
        assert!(log.admits(command::LIST_OBJECTS), "it is not logged");
        assert!(log.admits(command::SET_LOG_INDEX) && log.admits(command::CREATE_SESSION));
        log.record(event(command::CREATE_SESSION));
        log.boot();
        assert_eq!(log.answer(&[]), [0, 1, 0, 1, 0]);
        assert!(log.set_index(10).is_err());
        log.set_index(40).unwrap();
        assert_eq!((log.used(), log.entries()[0].number), (32, 41));
        assert!(log.admits(command::SIGN_ECDSA));
    }

    #[test]
    fn numbers_begin_again_after_the_last() {
        let mut log = Log::new([0; 16]);
        log.last_number = u16::MAX;
        log.record(event(command::SIGN_ECDSA));
        assert_eq!(log.entries().last().unwrap().number, 0);
    }
}
