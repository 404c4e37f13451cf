//! A transaction as it is kept in memory and in rows: one run of bytes, of which nothing has to be parsed to use it.

use bitcoin::{
    BlockHash, OutPoint, Transaction, Txid,
    consensus::{Decodable as _, encode},
    hashes::Hash as _,
};

use crate::{
    error::{Error, Result},
    types::{BlockAt, Keychain, Spot},
};

const VERSION: u8 = 1;
const HEADER: usize = 54;
const INPUT: usize = 36;
const OWNED: usize = 16;
const COINBASE: u8 = 1;
const CHANGE: u32 = 1 << 31;

/// An output that is the wallet's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) vout: u32,
    pub(crate) spot: Spot,
    /// In satoshi.
    pub(crate) value: u64,
}

/// A transaction with what the wallet needs of it.
///
/// Version (1 byte), flags (1), txid (32), numbers of inputs, of own outputs and of all outputs (4 each), the sum of all
/// outputs in satoshi (8); then the outpoints spent (36 each), the own outputs (number, place, value: 16 each), and the
/// transaction as it travels. Numbers are little endian.
#[derive(Clone, PartialEq, Eq)]
pub struct Record(Box<[u8]>);

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Record").field(&self.txid()).finish()
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

fn number(count: usize) -> Result<[u8; 4]> {
    u32::try_from(count).map(u32::to_le_bytes).map_err(|_| Error::Damaged("a transaction is beyond any size"))
}

impl Record {
    pub(crate) fn new(txid: Txid, transaction: &Transaction, owned: &[Owned]) -> Result<Self> {
        let mut bytes = vec![VERSION, if transaction.is_coinbase() { COINBASE } else { 0 }];
        bytes.extend(txid.to_byte_array());
        bytes.extend(number(transaction.input.len())?);
        bytes.extend(number(owned.len())?);
        bytes.extend(number(transaction.output.len())?);
        let paid = transaction.output.iter().fold(0u64, |sum, out| sum.saturating_add(out.value.to_sat()));
        bytes.extend(paid.to_le_bytes());
        for input in &transaction.input {
            bytes.extend(input.previous_output.txid.to_byte_array());
            bytes.extend(input.previous_output.vout.to_le_bytes());
        }
        for output in owned {
            let change = if output.spot.keychain == Keychain::Change { CHANGE } else { 0 };
            bytes.extend(output.vout.to_le_bytes());
            bytes.extend((output.spot.index | change).to_le_bytes());
            bytes.extend(output.value.to_le_bytes());
        }
        bytes.extend(encode::serialize(transaction));
        Ok(Self(bytes.into()))
    }

    /// Reads a stored record.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let record = Self(bytes.into());
        if record.0.len() < HEADER || record.0.first() != Some(&VERSION) {
            return Err(Error::Damaged("a transaction is too short, or of a later version"));
        }
        if record.0.len() <= record.raw_at() {
            return Err(Error::Damaged("a transaction is shorter than it says"));
        }
        Ok(record)
    }

    /// The bytes that [`from_bytes`](Self::from_bytes) reads.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The transaction's id.
    pub fn txid(&self) -> Txid {
        Txid::from_byte_array(array(&self.0, 2))
    }

    pub(crate) fn is_coinbase(&self) -> bool {
        self.0.get(1).is_some_and(|flags| flags & COINBASE != 0)
    }

    fn count(&self, at: usize) -> usize {
        usize::try_from(u32::from_le_bytes(array(&self.0, at))).unwrap_or(usize::MAX)
    }

    pub(crate) fn input_count(&self) -> u32 {
        u32::from_le_bytes(array(&self.0, 34))
    }

    pub(crate) fn output_count(&self) -> u32 {
        u32::from_le_bytes(array(&self.0, 42))
    }

    /// The sum of all outputs, in satoshi.
    pub(crate) fn paid(&self) -> u64 {
        u64::from_le_bytes(array(&self.0, 46))
    }

    fn owned_at(&self) -> usize {
        self.count(34).saturating_mul(INPUT).saturating_add(HEADER)
    }

    fn raw_at(&self) -> usize {
        self.count(38).saturating_mul(OWNED).saturating_add(self.owned_at())
    }

    /// The outpoints that it spends.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = OutPoint> + '_ {
        let part = self.0.get(HEADER..self.owned_at()).unwrap_or_default();
        part.as_chunks::<INPUT>().0.iter().map(|input| {
            let txid = Txid::from_byte_array(array(input, 0));
            OutPoint::new(txid, u32::from_le_bytes(array(input, 32)))
        })
    }

    /// The own outputs, by rising number.
    pub(crate) fn owned(&self) -> impl ExactSizeIterator<Item = Owned> + '_ {
        let part = self.0.get(self.owned_at()..self.raw_at()).unwrap_or_default();
        part.as_chunks::<OWNED>().0.iter().map(owned)
    }

    /// The own output at this place in the list of own outputs.
    pub(crate) fn owned_nth(&self, at: u32) -> Option<Owned> {
        let part = self.0.get(self.owned_at()..self.raw_at())?;
        part.as_chunks::<OWNED>().0.get(usize::try_from(at).ok()?).map(owned)
    }

    /// The own output of this number, and its place in the list of own outputs.
    pub(crate) fn owned_by_vout(&self, vout: u32) -> Option<(u32, Owned)> {
        let part = self.0.get(self.owned_at()..self.raw_at())?.as_chunks::<OWNED>().0;
        let at = part.binary_search_by_key(&vout, |bytes| owned(bytes).vout).ok()?;
        Some((u32::try_from(at).ok()?, owned(part.get(at)?)))
    }

    /// The transaction as it travels.
    pub(crate) fn raw(&self) -> &[u8] {
        self.0.get(self.raw_at()..).unwrap_or_default()
    }

    /// The transaction.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn decode(&self) -> Result<Transaction> {
        let mut raw = self.raw();
        let read = Transaction::consensus_decode_from_finite_reader(&mut raw);
        read.map_err(|_| Error::Damaged("a transaction cannot be read"))
    }
}

fn owned(bytes: &[u8; OWNED]) -> Owned {
    let spot = u32::from_le_bytes(array(bytes, 4));
    let keychain = if spot & CHANGE == 0 { Keychain::Receive } else { Keychain::Change };
    Owned {
        vout: u32::from_le_bytes(array(bytes, 0)),
        spot: Spot { keychain, index: spot & !CHANGE },
        value: u64::from_le_bytes(array(bytes, 8)),
    }
}

/// Where a transaction was seen. It changes, unlike the rest of what is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// When the mempool first had it.
    pub first_seen: Option<u64>,
    /// When it last entered the mempool; none once it left, or its block was taken back.
    pub seen: Option<u64>,
    /// The block of the best chain that holds it.
    pub block: Option<BlockAt>,
}

impl Position {
    /// One flag for each part, and the parts that are there.
    pub fn to_bytes(&self) -> Vec<u8> {
        let flags = u8::from(self.first_seen.is_some())
            | u8::from(self.seen.is_some()) << 1
            | u8::from(self.block.is_some()) << 2;
        let mut bytes = vec![flags];
        for time in [self.first_seen, self.seen].into_iter().flatten() {
            bytes.extend(time.to_le_bytes());
        }
        if let Some(at) = self.block {
            bytes.extend(at.height.to_le_bytes());
            bytes.extend(at.hash.to_byte_array());
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = Error::Damaged("the position of a transaction cannot be read");
        let (&flags, mut rest) = bytes.split_first().ok_or(damaged.clone())?;
        let mut time = |flag: u8| -> Result<Option<u64>> {
            if flags & flag == 0 {
                return Ok(None);
            }
            let (time, after) = rest.split_first_chunk::<8>().ok_or(damaged.clone())?;
            rest = after;
            Ok(Some(u64::from_le_bytes(*time)))
        };
        let (first_seen, seen) = (time(1)?, time(2)?);
        let block = match (flags & 4 != 0, rest.len()) {
            (false, 0) => None,
            (true, 36) => Some(BlockAt {
                height: u32::from_le_bytes(array(rest, 0)),
                hash: BlockHash::from_byte_array(array(rest, 4)),
            }),
            _ => return Err(damaged),
        };
        if flags > 7 {
            return Err(damaged);
        }
        Ok(Self { first_seen, seen, block })
    }
}
