//! What a node claims of its chain, and the headers with which it can show it.

use bitcoin::{BlockHash, Work, block::Header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{NodeSource, decode, known};
use crate::{BlockRef, Error, rpc::Call, rpc::MAX_LIGHT_BATCH};

/// What `getblockchaininfo` says, taken down and not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) tip: BlockRef,
    /// The height of the best header it knows.
    pub(crate) headers: u32,
    /// The work of its chain from the genesis block on; `None` when it does not say.
    pub(crate) work: Option<Work>,
    pub(crate) initial_block_download: bool,
    pub(crate) prune_height: Option<u32>,
    pub(crate) pruned: bool,
}

/// What a node says of itself rather than of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Identity {
    pub(crate) version: u64,
    pub(crate) subversion: String,
    pub(crate) connections: u32,
}

impl NodeSource {
    /// The node's best chain in its own words, once its network was verified.
    pub(crate) async fn claim(&self) -> Result<Claim, Error> {
        let info = self.blockchain_info().await?;
        let work = match &info.chainwork {
            Some(text) => Some(Work::from_unprefixed_hex(text).map_err(|_| {
                Error::bad_answer("getblockchaininfo", "its chain work is no number of 256 bits")
            })?),
            None => None,
        };
        Ok(Claim {
            tip: BlockRef { height: info.blocks, hash: info.bestblockhash },
            headers: info.headers,
            work,
            initial_block_download: info.initialblockdownload,
            prune_height: info.pruneheight,
            pruned: info.pruned,
        })
    }

    /// Version and peers.
    pub(crate) async fn identity(&self) -> Result<Identity, Error> {
        self.ready().await?;
        self.rpc.call(Call::read("getnetworkinfo", json!([]))).await
    }

    /// The blocks of the node's best chain at `from` and the `count` - 1 heights above it; as many as it has.
    pub(crate) async fn hashes(&self, from: u32, count: usize) -> Result<Vec<BlockHash>, Error> {
        self.ready().await?;
        let heights: Vec<Value> = (from..=u32::MAX).take(count).map(|height| json!([height])).collect();
        let mut hashes = Vec::with_capacity(count);
        for chunk in heights.chunks(MAX_LIGHT_BATCH) {
            for answer in self.rpc.batch::<BlockHash>("getblockhash", chunk.to_vec()).await? {
                match answer {
                    Ok(hash) => hashes.push(hash),
                    Err(Error::Rpc { code: super::INVALID_PARAMETER, .. }) => return Ok(hashes),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(hashes)
    }

    /// The headers of these blocks, each checked to be the one asked for; `None` for a block that the node does not know.
    pub(crate) async fn raw_headers(&self, hashes: &[BlockHash]) -> Result<Vec<Option<Header>>, Error> {
        self.ready().await?;
        let method = "getblockheader";
        let mut headers = Vec::with_capacity(hashes.len());
        for chunk in hashes.chunks(MAX_LIGHT_BATCH) {
            let params = chunk.iter().map(|hash| json!([hash, false])).collect();
            for (hash, answer) in chunk.iter().zip(self.rpc.batch::<String>(method, params).await?) {
                let Some(hex) = known(answer)? else {
                    headers.push(None);
                    continue;
                };
                let header: Header = decode(method, &hex)?;
                if header.block_hash() != *hash {
                    return Err(Error::bad_answer(method, "it is another block's"));
                }
                headers.push(Some(header));
            }
        }
        Ok(headers)
    }
}
