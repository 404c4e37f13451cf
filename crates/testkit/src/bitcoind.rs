//! A Bitcoin node on regtest for one test.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use bitcoin::{Address, Amount, BlockHash, Txid, address::NetworkUnchecked};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

pub use crate::locate::{locate, private_bitcoind, tools_dir};
use crate::{Error, ports, rpc::Client};

/// The node's own wallet, which owns what [`Bitcoind::mine_blocks`] earns.
pub const MINER: &str = "miner";

const START_DEADLINE: Duration = Duration::from_secs(120);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const START_ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(20);

/// How to start a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// Listen for peers, so that [`Bitcoind::connect`] can reach this node. Off by default.
    pub listen: bool,
    /// Create and load the wallet [`MINER`]. On by default; off for a node that was built without wallets.
    pub wallet: bool,
    /// More of the node's own options, such as `-rpcworkqueue=1`.
    pub args: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: false, wallet: true, args: Vec::new() }
    }
}

impl Options {
    /// The same options with one more option of the node's own.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The same options with the node listening for peers.
    #[must_use]
    pub fn listening(mut self) -> Self {
        self.listen = true;
        self
    }
}

/// A running node. Dropping it kills the process and deletes its folder.
#[derive(Debug)]
pub struct Bitcoind {
    child: Option<Child>,
    program: PathBuf,
    knots: bool,
    options: Options,
    rpc_port: u16,
    p2p_port: u16,
    client: Client,
    folder: TempDir,
}

impl Bitcoind {
    /// Starts a node in a new temporary folder and waits until it answers.
    ///
    /// # Errors
    /// [`Error::NoBitcoind`] when there is no program; [`Error::Exited`] with the node's own words when it does
    /// not start; [`Error::Deadline`] when it does not answer within two minutes.
    pub fn start(options: Options) -> Result<Self, Error> {
        let program = locate()?;
        let knots = is_knots(&program)?;
        let mut attempt = 1;
        loop {
            let folder = tempfile::Builder::new()
                .prefix("anya-bitcoind-")
                .tempdir()
                .map_err(Error::io("make a folder for bitcoind"))?;
            let (rpc_port, p2p_port) = (ports::free()?, ports::free()?);
            let client = Client::new(rpc_port, folder.path().join("regtest/.cookie"));
            let mut node = Self {
                child: None,
                program: program.clone(),
                knots,
                options: options.clone(),
                rpc_port,
                p2p_port,
                client,
                folder,
            };
            match node.launch() {
                Ok(()) => {
                    if node.options.wallet {
                        let load_on_startup = json!({"wallet_name": MINER, "load_on_startup": true});
                        node.rpc("createwallet", load_on_startup)?;
                    }
                    return Ok(node);
                }
                Err(Error::Exited { output }) if attempt < START_ATTEMPTS && is_port_clash(&output) => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where peers reach a node that listens.
    pub fn peer_address(&self) -> std::net::SocketAddr {
        std::net::SocketAddr::from(([127, 0, 0, 1], self.p2p_port))
    }

    /// Where clients reach the node's JSON-RPC: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.rpc_port)
    }

    /// The file with the credentials of the node's present run.
    pub fn cookie_file(&self) -> PathBuf {
        self.data_dir().join("regtest/.cookie")
    }

    /// The node's data folder.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The id of the node's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A client of this node, for another thread or with another time bound.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Calls a method of the node: `rpc("getblockhash", json!([0]))`.
    ///
    /// # Errors
    /// [`Error::Rpc`] with the node's code and words; [`Error::Io`] when it cannot be reached.
    pub fn rpc(&self, method: &str, params: Value) -> Result<Value, Error> {
        self.client.call(method, params)
    }

    /// Calls a method of one of the node's wallets.
    ///
    /// # Errors
    /// As [`Bitcoind::rpc`].
    pub fn rpc_wallet(&self, wallet: &str, method: &str, params: Value) -> Result<Value, Error> {
        self.client.call_wallet(wallet, method, params)
    }

    /// A new address of the miner's wallet.
    ///
    /// # Errors
    /// As [`Bitcoind::rpc`].
    pub fn new_address(&self) -> Result<Address, Error> {
        let answer = self.rpc_wallet(MINER, "getnewaddress", json!([]))?;
        let unchecked: Address<NetworkUnchecked> = parse("getnewaddress", &answer)?;
        unchecked
            .require_network(bitcoin::Network::Regtest)
            .map_err(|error| Error::answer("getnewaddress", error.to_string()))
    }

    /// Mines `count` blocks that pay to `address`; the newest hash comes last.
    ///
    /// # Errors
    /// As [`Bitcoind::rpc`].
    pub fn mine(&self, count: u32, address: &Address) -> Result<Vec<BlockHash>, Error> {
        let answer = self.rpc("generatetoaddress", json!([count, address.to_string()]))?;
        let hashes = answer.as_array().ok_or_else(|| Error::answer("generatetoaddress", "no list"))?;
        hashes.iter().map(|hash| parse("generatetoaddress", hash)).collect()
    }

    /// Mines `count` blocks to a new address of the miner's wallet.
    ///
    /// # Errors
    /// As [`Bitcoind::rpc`].
    pub fn mine_blocks(&self, count: u32) -> Result<Vec<BlockHash>, Error> {
        self.mine(count, &self.new_address()?)
    }

    /// Sends `amount` from the miner's wallet to `address`, after mining what that takes. The payment is left in
    /// the mempool.
    ///
    /// # Errors
    /// As [`Bitcoind::rpc`].
    pub fn fund(&self, address: &Address, amount: Amount) -> Result<Txid, Error> {
        let answer = self.rpc_wallet(MINER, "getbalance", json!([]))?;
        let balance = answer.as_f64().and_then(|bitcoin| Amount::from_btc(bitcoin).ok()).unwrap_or_default();
        if balance < amount + Amount::from_sat(100_000) {
            self.mine_blocks(101)?;
        }
        let params = json!({"address": address.to_string(), "amount": amount.to_btc(), "fee_rate": 2});
        parse("sendtoaddress", &self.rpc_wallet(MINER, "sendtoaddress", params)?)
    }

    /// Height of the node's best block.
    ///
    /// # Errors
    /// As [`Bitcoind::rpc`].
    pub fn height(&self) -> Result<u32, Error> {
        let answer = self.rpc("getblockcount", json!([]))?;
        answer
            .as_u64()
            .and_then(|height| u32::try_from(height).ok())
            .ok_or_else(|| Error::answer("getblockcount", answer.to_string()))
    }

    /// Hash of the node's best block.
    ///
    /// # Errors
    /// As [`Bitcoind::rpc`].
    pub fn tip(&self) -> Result<BlockHash, Error> {
        parse("getbestblockhash", &self.rpc("getbestblockhash", json!([]))?)
    }

    /// Makes this node a peer of `other`, which must listen, and waits until they speak.
    ///
    /// # Errors
    /// [`Error::Deadline`] when they do not; else as [`Bitcoind::rpc`].
    pub fn connect(&self, other: &Self) -> Result<(), Error> {
        let peer = format!("127.0.0.1:{}", other.p2p_port);
        self.rpc("addnode", json!([peer, "onetry"]))?;
        wait_until("the nodes to connect", START_DEADLINE, || {
            let peers = self.rpc("getpeerinfo", json!([]))?;
            let spoken = |info: &Value| info["addr"] == json!(peer) && info["version"].as_u64() > Some(0);
            Ok(peers.as_array().is_some_and(|peers| peers.iter().any(spoken)))
        })
    }

    /// Waits until this node and `other` have the same best block.
    ///
    /// # Errors
    /// [`Error::Deadline`] when they do not agree within two minutes.
    pub fn wait_same_tip(&self, other: &Self) -> Result<(), Error> {
        wait_until("the nodes to agree", START_DEADLINE, || Ok(self.tip()? == other.tip()?))
    }

    /// Ends the node as an operator would and waits for it.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it takes more than a minute; it is killed then.
    pub fn stop(&mut self) -> Result<(), Error> {
        if self.child.is_none() {
            return Ok(());
        }
        self.rpc("stop", json!([]))?;
        let ended = wait_until("bitcoind to stop", STOP_DEADLINE, || Ok(self.exit_status()?.is_some()));
        self.kill()?;
        ended
    }

    /// Kills the node with SIGKILL, paused or not.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system refuses.
    pub fn kill(&mut self) -> Result<(), Error> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().map_err(Error::io("kill bitcoind"))?;
        child.wait().map_err(Error::io("wait for bitcoind"))?;
        Ok(())
    }

    /// Freezes the node with SIGSTOP: connections open, answers do not come.
    ///
    /// # Errors
    /// [`Error::NotRunning`], or [`Error::Io`] when the operating system refuses.
    pub fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)?;
        // The signal returns before the threads have stopped: one of them might still answer.
        let pid = self.pid().ok_or(Error::NotRunning)?;
        wait_until("bitcoind to freeze", STOP_DEADLINE, || all_threads_stopped(pid))
    }

    /// Lets a frozen node go on.
    ///
    /// # Errors
    /// As [`Bitcoind::pause`].
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    /// Stops the node if it runs and starts it again on the same folder and ports, with a new cookie.
    ///
    /// # Errors
    /// As [`Bitcoind::start`] and [`Bitcoind::stop`].
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop()?;
        let mut attempt = 1;
        loop {
            match self.launch() {
                Err(Error::Exited { output }) if attempt < START_ATTEMPTS && is_port_clash(&output) => {
                    attempt += 1;
                    thread::sleep(Duration::from_millis(500));
                }
                other => return other,
            }
        }
    }

    /// Replaces the node's own options ([`Options::args`]) from its next start on.
    pub fn set_args(&mut self, args: Vec<String>) {
        self.options.args = args;
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let child = self.child.as_ref().ok_or(Error::NotRunning)?;
        kill_process(Pid::from_child(child), signal)
            .map_err(|errno| Error::Io { what: "signal bitcoind".to_owned(), source: errno.into() })
    }

    fn launch(&mut self) -> Result<(), Error> {
        // A cookie that a killed run left behind would look like an answer.
        let _ = fs::remove_file(self.cookie_file());
        let errors = File::create(self.error_file()).map_err(Error::io("make bitcoind's error file"))?;
        let mut command = Command::new(&self.program);
        command
            .args(["-regtest", "-server=1", "-txindex=0", "-dnsseed=0", "-fixedseeds=0", "-listenonion=0"])
            .args(["-fallbackfee=0.0001", "-printtoconsole=0", "-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1"])
            .arg(format!("-datadir={}", self.data_dir().display()))
            .arg(format!("-rpcport={}", self.rpc_port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        if self.options.listen {
            command.arg("-listen=1").arg(format!("-bind=127.0.0.1:{}", self.p2p_port));
        } else {
            command.arg("-listen=0");
        }
        if self.knots {
            // Knots' own relay policy differs from Core's.
            command.arg("-corepolicy=1");
        }
        command.args(&self.options.args);
        self.child = Some(command.spawn().map_err(Error::io("start bitcoind"))?);
        let answered = self.wait_for_rpc();
        if answered.is_err() {
            self.kill()?;
        }
        answered
    }

    fn wait_for_rpc(&mut self) -> Result<(), Error> {
        let probe = self.client.clone().with_timeout(Duration::from_secs(5));
        wait_until("bitcoind to answer", START_DEADLINE, || {
            if self.exit_status()?.is_some() {
                return Err(Error::Exited { output: self.last_words() });
            }
            Ok(probe.call("getblockchaininfo", json!([])).is_ok())
        })
    }

    fn exit_status(&mut self) -> Result<Option<ExitStatus>, Error> {
        let child = self.child.as_mut().ok_or(Error::NotRunning)?;
        child.try_wait().map_err(Error::io("ask for bitcoind's state"))
    }

    fn error_file(&self) -> PathBuf {
        self.data_dir().join("stderr.log")
    }

    fn last_words(&self) -> String {
        let said = fs::read_to_string(self.error_file()).unwrap_or_default();
        if !said.trim().is_empty() {
            return said.trim().to_owned();
        }
        let log = fs::read_to_string(self.data_dir().join("regtest/debug.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Bitcoind {
    fn drop(&mut self) {
        // Nothing more can be done here when it fails: the process is then already gone.
        let _ = self.kill();
    }
}

/// Asks `check` again and again until it says yes.
///
/// # Errors
/// [`Error::Deadline`] after `deadline`, or the first error of `check`.
pub fn wait_until(
    what: &str,
    deadline: Duration,
    mut check: impl FnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let end = Instant::now() + deadline;
    loop {
        if check()? {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Error::Deadline { what: what.to_owned() });
        }
        thread::sleep(POLL);
    }
}

fn all_threads_stopped(pid: u32) -> Result<bool, Error> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_err(Error::io("list bitcoind's threads"))?;
    for thread in threads {
        let thread = thread.map_err(Error::io("list bitcoind's threads"))?;
        // The state follows the name, which is in parentheses; a thread that is gone answers no more either.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        if stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_knots(program: &Path) -> Result<bool, Error> {
    let output = Command::new(program)
        .arg("-version")
        .output()
        .map_err(Error::io(format!("run {} -version", program.display())))?;
    Ok(String::from_utf8_lossy(&output.stdout).contains("Knots"))
}

fn is_port_clash(output: &str) -> bool {
    let output = output.to_lowercase();
    ["unable to bind", "address already in use", "unable to start http server", "failed to listen"]
        .iter()
        .any(|sign| output.contains(sign))
}

fn parse<T: FromStr>(method: &str, value: &Value) -> Result<T, Error> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| Error::answer(method, value.to_string()))
}
