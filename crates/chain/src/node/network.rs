//! Is this node on our network?

use std::sync::atomic::Ordering;

use bitcoin::{BlockHash, constants::genesis_block};
use serde_json::json;

use super::NodeSource;
use crate::{Error, rpc::Call};

/// The epoch of a source that was never verified.
pub(super) const NEVER: u64 = u64::MAX;

impl NodeSource {
    /// Verifies the node's network unless this was done since the process behind the URL may last have changed.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        let epoch = self.rpc.epoch();
        if self.verified.load(Ordering::Acquire) == epoch {
            return Ok(());
        }
        self.verify().await
    }

    /// Verifies the node's network by chain name and genesis block.
    pub(super) async fn verify(&self) -> Result<(), Error> {
        #[derive(serde::Deserialize)]
        struct Chain {
            chain: String,
        }
        self.verified.store(NEVER, Ordering::Release);
        let chain: Chain = self.rpc.call(Call::read("getblockchaininfo", json!([]))).await?;
        self.check_chain_name(&chain.chain)?;
        // Not read at the end: should the process change meanwhile, the next call verifies again.
        let epoch = self.rpc.epoch();
        let genesis: BlockHash = self.rpc.call(Call::read("getblockhash", json!([0]))).await?;
        if genesis != genesis_block(bitcoin::Network::from(self.network)).block_hash() {
            return Err(self.wrong_network(format!("a chain that begins with block {genesis}")));
        }
        self.verified.store(epoch, Ordering::Release);
        Ok(())
    }

    pub(super) fn check_chain_name(&self, name: &str) -> Result<(), Error> {
        if name == self.network.core_name() {
            return Ok(());
        }
        self.verified.store(NEVER, Ordering::Release);
        Err(self.wrong_network(name.chars().filter(|c| !c.is_control()).take(40).collect()))
    }

    fn wrong_network(&self, found: String) -> Error {
        Error::WrongNetwork { expected: self.network, found }
    }
}
