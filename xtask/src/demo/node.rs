//! A Bitcoin node on regtest, driven by its own `bitcoin-cli`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::answer::Answer;
use super::household::Household;
use super::ports;
use super::shell::Shell;
use crate::error::Error;
use crate::setup::node::Node as Program;

/// The node's wallet that mines and pays.
const MINER: &str = "miner";

/// Blocks after which a mined coin can be spent.
const MATURITY: u32 = 100;

const START_DEADLINE: Duration = Duration::from_secs(60);

/// The running node.
pub(super) struct Node<'a> {
    shell: &'a Shell,
    port: u16,
}

impl<'a> Node<'a> {
    /// Starts a node in the demo's folder, with a wallet that has coins to give.
    ///
    /// # Errors
    /// When it does not start or answer.
    pub(super) fn start(
        household: &mut Household,
        shell: &'a Shell,
        program: &Program,
    ) -> Result<Self, Error> {
        let port = ports::free()?;
        let folder = household.folder().join("node");
        fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        let file = folder.join("bitcoin.conf");
        fs::write(&file, configuration(port)).map_err(Error::io("write", &file))?;
        let mut command = shell.command(&program.program.to_string_lossy(), &[]);
        command.arg(format!("-datadir={}", folder.display()));
        if program.is_knots() {
            // Knots' own relay policy differs from Core's.
            command.arg("-corepolicy=1");
        }
        household.start("bitcoind", &mut command)?;
        let node = Self { shell, port };
        household.wait_for("an answer of the node", START_DEADLINE, || {
            let answer = shell.answer("bitcoin-cli", &["-datadir=node", "getblockchaininfo"])?;
            Ok(answer.status.success().then_some(()))
        })?;
        node.call(&["createwallet", MINER])?;
        node.mine(MATURITY + 2)?;
        Ok(node)
    }

    /// Where the server reaches it.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Calls the node.
    ///
    /// # Errors
    /// When it answers with an error.
    pub(super) fn call(&self, words: &[&str]) -> Result<Answer, Error> {
        self.shell.run("bitcoin-cli", &[&["-datadir=node"], words].concat())
    }

    /// Calls one of the node's wallets.
    ///
    /// # Errors
    /// When it answers with an error.
    pub(super) fn wallet(&self, wallet: &str, words: &[&str]) -> Result<Answer, Error> {
        let wallet = format!("-rpcwallet={wallet}");
        self.call(&[&[wallet.as_str()], words].concat())
    }

    /// A new address of the node's own, for others to be paid at.
    ///
    /// # Errors
    /// When it answers with an error.
    pub(super) fn address(&self, label: &str) -> Result<String, Error> {
        Ok(self.wallet(MINER, &["getnewaddress", label, "bech32"])?.stdout.trim().to_owned())
    }

    /// Mines blocks. Returns the command, to be repeated by hand.
    ///
    /// # Errors
    /// When it answers with an error.
    pub(super) fn mine(&self, blocks: u32) -> Result<String, Error> {
        let blocks = blocks.to_string();
        Ok(self.wallet(MINER, &["-generate", &blocks])?.command)
    }

    /// Pays each address in one transaction and returns its id.
    ///
    /// # Errors
    /// When it answers with an error.
    pub(super) fn pay(&self, payments: &[(&str, &str)]) -> Result<String, Error> {
        let outputs: Vec<_> =
            payments.iter().map(|(address, bitcoin)| format!("\"{address}\":{bitcoin}")).collect();
        let outputs = format!("{{{}}}", outputs.join(","));
        Ok(self.wallet(MINER, &["sendmany", "", &outputs])?.stdout.trim().to_owned())
    }

    /// What an address has received in blocks, in satoshi.
    ///
    /// # Errors
    /// When it answers with an error or with no amount.
    pub(super) fn received(&self, address: &str) -> Result<u64, Error> {
        let answer = self.wallet(MINER, &["getreceivedbyaddress", address])?;
        let text = answer.stdout.trim();
        satoshi(text).ok_or_else(|| answer.unexpected("the answer", "an amount", text))
    }
}

/// The folder of `bitcoin-cli`: the node's own, else one on `PATH`.
///
/// # Errors
/// [`Error::NoBitcoinCli`].
pub(super) fn client_folder(program: &Program) -> Result<PathBuf, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = program.program.parent().map(Path::to_owned);
    own.into_iter()
        .chain(env::split_paths(&path))
        .find(|folder| folder.join("bitcoin-cli").is_file())
        .ok_or_else(|| Error::NoBitcoinCli { node: program.program.clone() })
}

fn configuration(port: u16) -> String {
    // Nothing here outlives the demo: the node's wallets need not reach the disk before it answers.
    format!(
        "regtest=1\nserver=1\nlisten=0\ndnsseed=0\nfixedseeds=0\nfallbackfee=0.0001\nprinttoconsole=0\n\
         unsafesqlitesync=1\ndebuglogfile=../../logs/node.log\n\
         [regtest]\nrpcport={port}\nrpcbind=127.0.0.1\nrpcallowip=127.0.0.1\n"
    )
}

/// An amount as the node writes it, `1.50000000`, in satoshi.
fn satoshi(bitcoin: &str) -> Option<u64> {
    let (whole, part) = bitcoin.split_once('.')?;
    let part = (part.len() == 8).then_some(part)?;
    whole.parse::<u64>().ok()?.checked_mul(100_000_000)?.checked_add(part.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_the_node_are_read_exactly() {
        assert_eq!(satoshi("1.50000000"), Some(150_000_000));
        assert_eq!(satoshi("0.00000001"), Some(1));
        assert_eq!(satoshi("21000000.00000000"), Some(2_100_000_000_000_000));
        for bad in ["", "1", "1.5", "-1.00000000", "1.0000000x", "error: none"] {
            assert_eq!(satoshi(bad), None, "{bad}");
        }
    }
}
