//! The offline verifier: reads an export line by line and names the first entry that does not hold.

use super::{
    Chain, Entry, Head, Header, Line,
    checkpoint::{Checkpoint, CheckpointError, VerifierKey},
};
use crate::canonical::Digest;

/// Why a log does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct VerifyError {
    /// The line of the export, from 1.
    pub line: u64,
    /// The entry at fault, when the fault lies in one.
    pub entry: Option<u64>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not a line of an export.
    #[error("not a line of an audit export: {0}")]
    Json(String),
    /// The first line is no header of this format, or a second header follows.
    #[error("expected one header, on the first line, of format anya-audit version 1")]
    Header,
    /// The export's key is not the one that the caller trusts.
    #[error("the export names another verifier key than the one that was given")]
    OtherKey,
    /// An entry of another log.
    #[error("entry {0} belongs to another log")]
    OtherChain(u64),
    /// An entry is missing, doubled or out of order.
    #[error("entry {found} stands where entry {expected} should")]
    Sequence {
        /// The sequence number that was due.
        expected: u64,
        /// The one that was there.
        found: u64,
    },
    /// An entry does not follow the one before.
    #[error("entry {0} does not follow the entry before it: its `prev` is not that entry's hash")]
    Link(u64),
    /// An entry's content is not what was hashed.
    #[error("entry {0} was altered: its content does not have its hash")]
    Hash(u64),
    /// A checkpoint cannot be read or its signature does not hold.
    #[error("checkpoint: {0}")]
    Checkpoint(CheckpointError),
    /// A checkpoint speaks of entries that are not there, or of another log.
    #[error(
        "a signed checkpoint says that the log has {said} entries; {present} stand before it: entries are missing"
    )]
    Missing {
        /// What was signed.
        said: u64,
        /// What is there.
        present: u64,
    },
    /// A checkpoint disagrees with the entries.
    #[error("entry {0} is not the one that was signed: the checkpoint over it has another hash")]
    Signed(u64),
    /// The export ends before the checkpoint that the caller holds.
    #[error("the log ends at entry {present}, before entry {expected} of the checkpoint that was given")]
    Truncated {
        /// The size of the caller's checkpoint.
        expected: u64,
        /// What is there.
        present: u64,
    },
}

/// What a log that holds amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Whose log.
    pub chain: Chain,
    /// Number of entries, and the hash of the last.
    pub head: Head,
    /// Number of signed checkpoints.
    pub checkpoints: u64,
    /// How many entries the newest checkpoint covers; those after it are chained but not yet signed.
    pub signed_size: u64,
}

/// Verifies an export.
pub struct Verifier {
    trusted: Option<VerifierKey>,
    known: Option<Head>,
    state: Option<State>,
    lines: u64,
}

struct State {
    chain: Chain,
    key: VerifierKey,
    head: Head,
    /// Hashes by sequence number (from 1), for checkpoints that speak of earlier entries.
    hashes: Vec<Digest>,
    checkpoints: u64,
    signed_size: u64,
}

impl Verifier {
    /// A verifier. With `trusted` the export must name that key; without it the key in the export's header is used, and
    /// the result means no more than that the file agrees with itself. With `known`, the head that an older checkpoint
    /// stated, the log must contain it.
    pub fn new(trusted: Option<VerifierKey>, known: Option<Head>) -> Self {
        Self { trusted, known, state: None, lines: 0 }
    }

    /// Reads the next line.
    pub fn line(&mut self, text: &str) -> Result<(), VerifyError> {
        self.lines += 1;
        let number = self.lines;
        let fail = |entry, fault| VerifyError { line: number, entry, fault };
        let line: Line = serde_json::from_str(text).map_err(|e| {
            let entry = self.state.as_ref().map(|state| state.head.size + 1);
            fail(entry, Fault::Json(e.to_string()))
        })?;
        match (line, &mut self.state) {
            (Line::Header(header), None) => {
                self.state = Some(State::open(header, self.trusted.as_ref()).map_err(|f| fail(None, f))?);
                Ok(())
            }
            (Line::Header(_), Some(_)) | (_, None) => Err(fail(None, Fault::Header)),
            (Line::Entry(entry), Some(state)) => {
                let seq = entry.seq;
                state.entry(&entry).map_err(|fault| fail(Some(seq), fault))
            }
            (Line::Checkpoint { note }, Some(state)) => state.checkpoint(&note).map_err(|fault| {
                let entry = match fault {
                    Fault::Signed(entry) => Some(entry),
                    Fault::Missing { present, .. } => Some(present + 1),
                    _ => None,
                };
                fail(entry, fault)
            }),
        }
    }

    /// Says what was verified, after the last line.
    pub fn finish(self) -> Result<Report, VerifyError> {
        let fail = |entry, fault| VerifyError { line: self.lines, entry, fault };
        let state = self.state.ok_or_else(|| fail(None, Fault::Header))?;
        if let Some(known) = self.known {
            if known.size > state.head.size {
                let fault = Fault::Truncated { expected: known.size, present: state.head.size };
                return Err(fail(Some(state.head.size + 1), fault));
            }
            if state.hash_at(known.size) != Some(known.hash) {
                return Err(fail(Some(known.size), Fault::Signed(known.size)));
            }
        }
        Ok(Report {
            chain: state.chain,
            head: state.head,
            checkpoints: state.checkpoints,
            signed_size: state.signed_size,
        })
    }
}

impl State {
    fn open(header: Header, trusted: Option<&VerifierKey>) -> Result<Self, Fault> {
        if header.format != Header::FORMAT || header.version != Header::VERSION {
            return Err(Fault::Header);
        }
        let key: VerifierKey = header.verifier_key.parse().map_err(Fault::Checkpoint)?;
        if trusted.is_some_and(|trusted| *trusted != key) {
            return Err(Fault::OtherKey);
        }
        Ok(Self {
            chain: header.chain,
            key,
            head: Head::EMPTY,
            hashes: Vec::new(),
            checkpoints: 0,
            signed_size: 0,
        })
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Fault> {
        let expected = self.head.size + 1;
        if entry.seq != expected {
            return Err(Fault::Sequence { expected, found: entry.seq });
        }
        if entry.chain != self.chain {
            return Err(Fault::OtherChain(entry.seq));
        }
        if entry.prev != self.head.hash {
            return Err(Fault::Link(entry.seq));
        }
        if entry.compute_hash() != Some(entry.hash) {
            return Err(Fault::Hash(entry.seq));
        }
        self.head = Head { size: entry.seq, hash: entry.hash };
        self.hashes.push(entry.hash);
        Ok(())
    }

    fn checkpoint(&mut self, note: &str) -> Result<(), Fault> {
        let checkpoint = Checkpoint::open(note, &self.key).map_err(Fault::Checkpoint)?;
        let Checkpoint { chain, head } = checkpoint;
        if chain != self.chain {
            return Err(Fault::Checkpoint(CheckpointError::Format("it is of another log")));
        }
        match self.hash_at(head.size) {
            None => Err(Fault::Missing { said: head.size, present: self.head.size }),
            Some(hash) if hash != head.hash => Err(Fault::Signed(head.size)),
            Some(_) => {
                self.checkpoints += 1;
                self.signed_size = self.signed_size.max(head.size);
                Ok(())
            }
        }
    }

    fn hash_at(&self, seq: u64) -> Option<Digest> {
        match usize::try_from(seq).ok()?.checked_sub(1) {
            None => Some(Digest::ZERO),
            Some(index) => self.hashes.get(index).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use anya_primitives::{Actor, TenantId, Timestamp};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use proptest::prelude::*;

    use super::*;
    use crate::audit::Record;

    struct Log {
        key: Ed25519KeyPair,
        chain: Chain,
        lines: Vec<String>,
        head: Head,
    }

    impl Log {
        fn new() -> Self {
            let key = Ed25519KeyPair::generate().unwrap();
            let chain = Chain::Tenant(TenantId::new());
            let mut log = Self { key, chain, lines: Vec::new(), head: Head::EMPTY };
            let header = Header {
                format: Header::FORMAT.into(),
                version: Header::VERSION,
                chain,
                verifier_key: log.verifier().to_string(),
            };
            log.push(&Line::Header(header));
            log
        }

        fn of(entries: u64) -> Self {
            let mut log = Self::new();
            for n in 0..entries {
                log.append(n);
            }
            log.sign();
            log
        }

        fn verifier(&self) -> VerifierKey {
            VerifierKey::new(self.key.public_key().as_ref().try_into().unwrap())
        }

        fn push(&mut self, line: &Line) {
            self.lines.push(serde_json::to_string(line).unwrap());
        }

        fn append(&mut self, n: u64) {
            let record = Record {
                actor: Actor::System,
                action: "operation.proposed".into(),
                subject: format!("op_{n}"),
                detail: serde_json::json!({ "amount_sat": n, "note": "naïve \u{1F511}" }),
            };
            let at = Timestamp::from_millis(1_700_000_000_000).unwrap();
            let entry = Entry::link(self.chain, self.head.size + 1, self.head.hash, at, record).unwrap();
            self.head = Head { size: entry.seq, hash: entry.hash };
            self.push(&Line::Entry(entry));
        }

        fn sign(&mut self) {
            let checkpoint = Checkpoint { chain: self.chain, head: self.head };
            let signature = self.key.sign(checkpoint.text().as_bytes());
            let note = checkpoint.note(&self.verifier(), signature.as_ref().try_into().unwrap());
            self.push(&Line::Checkpoint { note });
        }

        fn verify(&self) -> Result<Report, VerifyError> {
            verify(&self.lines, Some(self.verifier()), None)
        }
    }

    fn verify(
        lines: &[String],
        key: Option<VerifierKey>,
        known: Option<Head>,
    ) -> Result<Report, VerifyError> {
        let mut verifier = Verifier::new(key, known);
        for line in lines {
            verifier.line(line)?;
        }
        verifier.finish()
    }

    #[test]
    fn a_whole_log_holds() {
        let log = Log::of(5);
        let report = log.verify().unwrap();
        assert_eq!((report.head, report.checkpoints, report.signed_size), (log.head, 1, 5));
    }

    #[test]
    fn a_log_cut_behind_a_known_checkpoint_is_found_out() {
        let log = Log::of(5);
        let mut cut = Log::of(3);
        let known = Head { size: 5, hash: log.head.hash };
        let error = verify(&cut.lines, Some(cut.verifier()), Some(known)).unwrap_err();
        assert_eq!(error.fault, Fault::Truncated { expected: 5, present: 3 });
        // The last entry goes, the checkpoint over it stays.
        cut.lines.remove(3);
        assert!(matches!(cut.verify().unwrap_err().fault, Fault::Missing { said: 3, present: 2 }));
    }

    #[test]
    fn a_log_rewritten_with_fresh_hashes_is_caught_by_its_checkpoint() {
        let log = Log::of(4);
        let mut forged = Log { key: Ed25519KeyPair::generate().unwrap(), ..Log::of(0) };
        forged.chain = log.chain;
        forged.lines = vec![log.lines[0].clone()];
        forged.head = Head::EMPTY;
        for n in [0, 1, 9, 3] {
            forged.append(n);
        }
        forged.lines.push(log.lines[5].clone());
        let error = verify(&forged.lines, Some(log.verifier()), None).unwrap_err();
        assert_eq!((error.entry, error.fault), (Some(4), Fault::Signed(4)));
    }

    #[test]
    fn another_key_is_refused() {
        let log = Log::of(1);
        assert_eq!(verify(&log.lines, Some(Log::of(0).verifier()), None).unwrap_err().fault, Fault::OtherKey);
    }

    proptest! {
        /// Whatever bit of an entry's line is turned, verification fails and names that entry or the one after it.
        #[test]
        fn every_altered_bit_is_caught(entry in 1usize..=6, position in any::<prop::sample::Index>(), bit in 0u8..7) {
            let log = Log::of(6);
            let mut lines = log.lines.clone();
            let mut bytes = lines[entry].clone().into_bytes();
            let at = position.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assume!(bytes[at] != b'\n');
            let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
            // An escape may spell the same content; only content is protected.
            let same = serde_json::from_str::<Line>(&text).ok() == serde_json::from_str::<Line>(&lines[entry]).ok();
            prop_assume!(!same);
            lines[entry] = text;
            let error = verify(&lines, Some(log.verifier()), None).unwrap_err();
            prop_assert_eq!(usize::try_from(error.line).unwrap(), entry + 1, "{:?}", error);
        }
    }
}
