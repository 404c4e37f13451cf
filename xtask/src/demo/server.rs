//! The server: its data folder, its process, and its two doors.

use std::time::Duration;

use super::caller::{Caller, write_private};
use super::household::Household;
use super::node::Node;
use super::ports;
use super::report::Report;
use super::shell::Shell;
use crate::error::Error;

/// The server's name among the processes.
pub(super) const NAME: &str = "anya";

const START_DEADLINE: Duration = Duration::from_secs(60);

/// A server with its data folder.
pub(super) struct Server<'a> {
    shell: &'a Shell,
    tls_port: u16,
}

impl<'a> Server<'a> {
    /// Lays down the data folder. What is given here is written to its `anya.toml`.
    ///
    /// # Errors
    /// When `anya init` fails.
    pub(super) fn init(shell: &'a Shell, node: &Node<'_>) -> Result<Self, Error> {
        let tls_port = ports::free()?;
        write_private(&shell.file("keystore.passphrase"), "a passphrase of the demo's own\n")?;
        let url = node.url();
        let listen = format!("127.0.0.1:{tls_port}");
        // A node that nobody uses has no fees to estimate from; and nobody wants to wait for the demo's blocks.
        let mut words = vec!["ANYA_BITCOIN__FALLBACK_FEE_RATE=2", "ANYA_NODE__POLL_MILLISECONDS=200"];
        words.extend(["anya", "init", "--network", "regtest", "--passphrase-file", "keystore.passphrase"]);
        words.extend(["--node-url", &url, "--node-cookie-file", "node/regtest/.cookie"]);
        words.extend(["--listen-tls", &listen, "--json"]);
        shell.run("env", &words)?.expect("/network", "regtest")?;
        Ok(Self { shell, tls_port })
    }

    /// Starts it, waits until it is ready, and has the doctor look at it.
    ///
    /// # Errors
    /// When it does not get ready, or the doctor finds something.
    pub(super) fn start(&self, household: &mut Household, report: &mut Report) -> Result<(), Error> {
        household.start(NAME, &mut self.shell.command("anya", &["serve"]))?;
        household.wait_for("a ready server", START_DEADLINE, || {
            let words = ["--silent", "--fail", "--max-time", "5", "--unix-socket", "data/anya.sock"];
            let answer = self.shell.answer("curl", &[&words[..], &["http://anya/readyz"]].concat())?;
            Ok(answer.status.success().then_some(()))
        })?;
        let healthy = self.shell.run("anya", &["doctor", "--json"])?;
        healthy.expect("/ok", true)?;
        report.by_hand("have everything checked", &healthy);
        Ok(())
    }

    /// Asks for the server's state and its API's description over TLS, trusting its own certificate and no other.
    ///
    /// # Errors
    /// When it does not answer, or is not well.
    pub(super) fn show_tls(&self, caller: &Caller<'_>, report: &mut Report) -> Result<(), Error> {
        let address = format!("https://localhost:{}/v1/status", self.tls_port);
        let status = caller.curl(&["--cacert", "data/tls/cert.pem"], &address)?;
        status.expect("/node/ok", true)?.expect("/ledger/ok", true)?;
        report.by_hand("the server's state, over TLS", &status);
        let address = format!("https://localhost:{}/v1/openapi.json", self.tls_port);
        let document = caller.curl(&["--cacert", "data/tls/cert.pem"], &address)?;
        document.expect("/paths/~1v1~1operations/post/operationId", "propose")?;
        report.by_hand("the API's description (a browser shows it at /v1/docs)", &document);
        Ok(())
    }
}
