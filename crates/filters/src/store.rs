//! Headers and filters in the index.

use anya_chain::Error;
use anya_store::{Batch, Index};
use bitcoin::{
    BlockHash,
    block::Header,
    consensus::encode::{deserialize, serialize},
    hashes::Hash,
};

/// Height -> header of the best chain.
const HEADERS: &str = "filter_headers";
/// Height -> hash of the block, and its filter. A filter of a branch that was left is overwritten by its successor's.
const FILTERS: &str = "filter_contents";

/// The families of the index that this source uses.
pub const INDEX_FAMILIES: [&str; 2] = [HEADERS, FILTERS];

/// So many headers are read at once.
const STRIDE: usize = 2_000;

/// What was fetched, by height.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    index: Index,
}

impl Store {
    pub(crate) fn new(index: Index) -> Self {
        Self { index }
    }

    /// The lowest height of which there is a header.
    pub(crate) fn lowest(&self) -> Result<Option<u32>, Error> {
        let first = self.index.scan_prefix(HEADERS, &[], 1).map_err(failed)?;
        Ok(first.first().and_then(|(key, _)| height_of(key)))
    }

    /// The headers from `first` on, as far as they are kept without a gap.
    pub(crate) fn headers(&self, first: u32) -> Result<Vec<Header>, Error> {
        let mut headers: Vec<Header> = Vec::new();
        let mut next = first;
        loop {
            let rows = self.index.scan_from(HEADERS, &[], &next.to_be_bytes(), STRIDE).map_err(failed)?;
            let count = rows.len();
            for (key, value) in rows {
                let header: Option<Header> = deserialize(&value).ok();
                match header {
                    Some(header) if height_of(&key) == Some(next) => headers.push(header),
                    _ => return Ok(headers),
                }
                next = next.saturating_add(1);
            }
            if count < STRIDE {
                return Ok(headers);
            }
        }
    }

    /// The header of `hash`, if that is the block of the best chain at `height`.
    pub(crate) fn header(&self, height: u32, hash: &BlockHash) -> Result<Option<Header>, Error> {
        Ok(self.header_at(height)?.filter(|header| header.block_hash() == *hash))
    }

    /// The header of the best chain at `height`.
    pub(crate) fn header_at(&self, height: u32) -> Result<Option<Header>, Error> {
        let row = self.index.get(HEADERS, &height.to_be_bytes()).map_err(failed)?;
        Ok(row.and_then(|row| deserialize::<Header>(&row).ok()))
    }

    /// Keeps headers of the best chain, and forgets those above the last of them.
    pub(crate) fn put_headers(&self, headers: &[(u32, Header)]) -> Result<(), Error> {
        let Some((top, _)) = headers.last() else { return Ok(()) };
        let mut batch = Batch::new();
        for (height, header) in headers {
            batch.put(HEADERS, height.to_be_bytes(), serialize(header));
        }
        batch.delete_range(HEADERS, top.saturating_add(1).to_be_bytes(), u32::MAX.to_be_bytes());
        self.index.write(batch).map_err(failed)
    }

    /// Forgets all headers; filters are told by their blocks' hashes and stay.
    pub(crate) fn forget_headers(&self) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.delete_range(HEADERS, 0u32.to_be_bytes(), u32::MAX.to_be_bytes());
        self.index.write(batch).map_err(failed)
    }

    /// The filter of a block.
    pub(crate) fn filter(&self, height: u32, hash: &BlockHash) -> Result<Option<Vec<u8>>, Error> {
        let row = self.index.get(FILTERS, &height.to_be_bytes()).map_err(failed)?;
        Ok(row.and_then(|row| {
            let (block, filter) = row.split_at_checked(32)?;
            (block == hash.as_byte_array()).then(|| filter.to_vec())
        }))
    }

    /// Keeps filters of blocks at their heights.
    pub(crate) fn put_filters(&self, filters: Vec<(u32, BlockHash, Vec<u8>)>) -> Result<(), Error> {
        let mut batch = Batch::new();
        for (height, hash, filter) in filters {
            let mut row = hash.as_byte_array().to_vec();
            row.extend_from_slice(&filter);
            batch.put(FILTERS, height.to_be_bytes(), row);
        }
        self.index.write(batch).map_err(failed)
    }
}

fn height_of(key: &[u8]) -> Option<u32> {
    key.try_into().ok().map(u32::from_be_bytes)
}

fn failed(error: anya_store::Error) -> Error {
    Error::Storage { detail: error.to_string() }
}
