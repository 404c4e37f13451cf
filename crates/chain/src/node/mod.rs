//! The chain as one Bitcoin node sees it.

mod broadcast;
mod claim;
mod fees;
mod network;
mod verify;

use anya_primitives::{FeeRate, Network};
use async_trait::async_trait;
use bitcoin::{
    Block, BlockHash, Transaction, Txid,
    consensus::{Decodable, encode::deserialize_hex},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::AtomicU64;

use crate::{
    BlockRef, BroadcastOutcome, Capabilities, ChainSource, Error, HeaderInfo, NodeInfo, TxStatus,
    rpc::{BitcoinRpc, Call, MAX_BATCH, RpcConfig},
};
pub use broadcast::MAX_BROADCAST_FEE_RATE;
pub(crate) use claim::{Claim, Identity};
pub use verify::block as verify_block;

/// Bitcoin Core: no such block, transaction or address.
const NOT_FOUND: i64 = -5;
/// Bitcoin Core: a parameter out of range, such as a height above the tip.
const INVALID_PARAMETER: i64 = -8;
/// Bitcoin Core: anything else, such as a block that was pruned.
const MISC_ERROR: i64 = -1;
/// How far down a refused branch [`ChainSource::is_invalid`] looks.
const MAX_BRANCH: u32 = 2_000;

/// A [`ChainSource`] over one node's JSON-RPC.
///
/// Nothing is asked of a node before its chain name and its genesis block were found to be those of the configured
/// network, and both are looked at again whenever the process behind the URL may have changed.
#[derive(Debug)]
pub struct NodeSource {
    rpc: BitcoinRpc,
    network: Network,
    verified: AtomicU64,
}

#[derive(Deserialize)]
struct BlockchainInfo {
    chain: String,
    blocks: u32,
    headers: u32,
    bestblockhash: BlockHash,
    chainwork: Option<String>,
    #[serde(default)]
    initialblockdownload: bool,
    #[serde(default)]
    pruned: bool,
    pruneheight: Option<u32>,
}

#[derive(Deserialize)]
struct NetworkInfo {
    version: u64,
    subversion: String,
    connections: u32,
}

#[derive(Deserialize)]
struct Header {
    height: u32,
    time: u32,
    confirmations: i64,
    previousblockhash: Option<BlockHash>,
}

#[derive(Deserialize)]
struct ChainTip {
    height: u32,
    hash: BlockHash,
    branchlen: u32,
    status: String,
}

#[derive(Deserialize)]
struct MempoolState {
    #[serde(default = "yes")]
    loaded: bool,
}

fn yes() -> bool {
    true
}

impl NodeSource {
    /// A source over the node that `config` names. Connects only when something is asked.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Unsupported`] when the configuration cannot be used.
    pub fn new(config: &RpcConfig) -> Result<Self, Error> {
        let rpc = BitcoinRpc::new(config)?;
        Ok(Self { rpc, network: config.network, verified: AtomicU64::new(network::NEVER) })
    }

    /// A source for callers that can ask another node: it hands [`Error::Busy`] back at once.
    pub(crate) fn impatient(config: &RpcConfig) -> Result<Self, Error> {
        let source = Self::new(config)?;
        Ok(Self { rpc: source.rpc.impatient(), ..source })
    }

    /// The client of the node, for methods that [`ChainSource`] does not have.
    pub fn rpc(&self) -> &BitcoinRpc {
        &self.rpc
    }

    async fn blockchain_info(&self) -> Result<BlockchainInfo, Error> {
        self.ready().await?;
        let info: BlockchainInfo = self.rpc.call(Call::read("getblockchaininfo", json!([]))).await?;
        self.check_chain_name(&info.chain)?;
        Ok(info)
    }

    /// What the node says of itself.
    pub async fn info(&self) -> Result<NodeInfo, Error> {
        let chain = self.blockchain_info().await?;
        let network: NetworkInfo = self.rpc.call(Call::read("getnetworkinfo", json!([]))).await?;
        Ok(NodeInfo {
            network: self.network,
            tip: BlockRef { height: chain.blocks, hash: chain.bestblockhash },
            headers: chain.headers,
            initial_block_download: chain.initialblockdownload,
            pruned: chain.pruned,
            prune_height: chain.pruneheight,
            version: network.version,
            subversion: network.subversion,
            connections: network.connections,
        })
    }

    async fn in_mempool(&self, txid: &Txid) -> Result<bool, Error> {
        let entry = self.rpc.look_up::<Value>("getmempoolentry", json!([txid])).await;
        Ok(known(entry)?.is_some())
    }
}

#[async_trait]
impl ChainSource for NodeSource {
    fn capabilities(&self) -> Capabilities {
        Capabilities::NODE
    }

    async fn tip(&self) -> Result<BlockRef, Error> {
        let info = self.blockchain_info().await?;
        Ok(BlockRef { height: info.blocks, hash: info.bestblockhash })
    }

    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Error> {
        self.ready().await?;
        match self.rpc.look_up("getblockhash", json!([height])).await {
            Ok(hash) => Ok(Some(hash)),
            Err(Error::Rpc { code: INVALID_PARAMETER, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn header(&self, hash: &BlockHash) -> Result<HeaderInfo, Error> {
        self.ready().await?;
        let answer = self.rpc.look_up::<Header>("getblockheader", json!([hash, true])).await;
        let header = known(answer)?.ok_or(Error::UnknownBlock { hash: *hash })?;
        Ok(HeaderInfo {
            height: header.height,
            prev: header.previousblockhash.unwrap_or_else(zero_hash),
            time: header.time,
            confirmations: header.confirmations,
        })
    }

    async fn block(&self, hash: &BlockHash) -> Result<Block, Error> {
        self.ready().await?;
        let method = "getblock";
        let hex: String = match self.rpc.call(Call::read(method, json!([hash, 0])).large()).await {
            Err(Error::Rpc { code: NOT_FOUND, .. }) => return Err(Error::UnknownBlock { hash: *hash }),
            Err(Error::Rpc { code: MISC_ERROR, message, .. }) if message.contains("pruned") => {
                return Err(Error::Pruned { hash: *hash });
            }
            Err(Error::Rpc { code: MISC_ERROR, message, .. }) => {
                return Err(Error::Unreachable { detail: message, maybe_sent: false });
            }
            other => other?,
        };
        let block: Block = decode(method, &hex)?;
        verify::block(hash, &block).map_err(|detail| Error::bad_answer(method, detail))?;
        Ok(block)
    }

    async fn is_invalid(&self, block: BlockRef) -> Result<bool, Error> {
        self.ready().await?;
        let tips: Vec<ChainTip> = self.rpc.call(Call::read("getchaintips", json!([]))).await?;
        for tip in tips.iter().filter(|tip| tip.status == "invalid" && tip.height >= block.height) {
            let above_fork = tip.height - block.height < tip.branchlen;
            if !above_fork || tip.branchlen > MAX_BRANCH {
                continue;
            }
            let mut at = tip.hash;
            for _ in block.height..tip.height {
                at = self.header(&at).await?.prev;
            }
            if at == block.hash {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn mempool(&self) -> Result<Vec<Txid>, Error> {
        self.ready().await?;
        let state: MempoolState = self.rpc.call(Call::read("getmempoolinfo", json!([]))).await?;
        if !state.loaded {
            return Err(Error::WarmingUp { message: "loading the mempool".to_owned() });
        }
        self.rpc.call(Call::read("getrawmempool", json!([])).large()).await
    }

    async fn transaction(&self, txid: &Txid) -> Result<Option<Transaction>, Error> {
        Ok(self.transactions(&[*txid]).await?.pop())
    }

    async fn transactions(&self, txids: &[Txid]) -> Result<Vec<Transaction>, Error> {
        self.ready().await?;
        let method = "getrawtransaction";
        let mut found = Vec::with_capacity(txids.len());
        for chunk in txids.chunks(MAX_BATCH) {
            let params = chunk.iter().map(|txid| json!([txid, false])).collect();
            let answers = self.rpc.batch::<String>(method, params).await?;
            for (txid, answer) in chunk.iter().zip(answers) {
                let Some(hex) = known(answer)? else { continue };
                let transaction: Transaction = decode(method, &hex)?;
                if transaction.compute_txid() != *txid {
                    return Err(Error::bad_answer(method, "it is another transaction"));
                }
                found.push(transaction);
            }
        }
        Ok(found)
    }

    async fn tx_status(&self, txid: &Txid, block: Option<&BlockHash>) -> Result<TxStatus, Error> {
        self.ready().await?;
        if self.in_mempool(txid).await? {
            return Ok(TxStatus::Mempool);
        }
        let Some(hash) = block else { return Ok(TxStatus::Unknown) };
        let call = Call::read("getrawtransaction", json!([txid, false, hash])).large();
        if known(self.rpc.call::<String>(call).await)?.is_none() {
            return Ok(TxStatus::Unknown);
        }
        let header = self.header(hash).await?;
        match u32::try_from(header.confirmations) {
            Ok(confirmations) if confirmations > 0 => {
                let block = BlockRef { height: header.height, hash: *hash };
                Ok(TxStatus::Confirmed { block, confirmations })
            }
            _ => Ok(TxStatus::Unknown),
        }
    }

    async fn broadcast(&self, transaction: &Transaction) -> Result<BroadcastOutcome, Error> {
        broadcast::broadcast(self, transaction).await
    }

    async fn estimate_fee(&self, target_blocks: u16) -> Result<Option<FeeRate>, Error> {
        self.ready().await?;
        fees::estimate(&self.rpc, target_blocks).await
    }

    async fn min_relay_fee(&self) -> Result<FeeRate, Error> {
        self.ready().await?;
        fees::minimum(&self.rpc).await
    }
}

/// What the node knows: `None` where it answered that there is no such thing.
fn known<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::Rpc { code: NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn decode<T: Decodable>(method: &str, hex: &str) -> Result<T, Error> {
    deserialize_hex(hex).map_err(|_| Error::bad_answer(method, "it cannot be decoded"))
}

fn zero_hash() -> BlockHash {
    use bitcoin::hashes::Hash;
    BlockHash::all_zeros()
}
