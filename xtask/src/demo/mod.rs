//! `cargo xtask demo`: the main job, from an empty folder to a proven audit log, on a real Bitcoin node.
//!
//! Everything is done through the `anya` command line, `curl` and `bitcoin-cli`, as a person would do it; any
//! answer that is not the expected one ends the demo with the step, the command and what it said.
//!
//! * `household` starts processes and leaves nothing behind; `shell` runs commands; `answer` reads them;
//! * `caller` is somebody with an API key; `node` the Bitcoin node; `cosigner` the signer outside;
//! * `server`, `organisation`, `wallets`, `payments`, `vault`, `audit` are the steps; `report` tells of them.

mod answer;
mod audit;
mod binary;
mod caller;
mod cosigner;
mod household;
mod node;
mod organisation;
mod payments;
mod policy;
mod ports;
mod report;
mod server;
mod shell;
mod vault;
mod wallets;

use std::path::Path;
use std::time::{Duration, Instant};

use self::cosigner::Cosigner;
use self::household::Household;
use self::node::Node;
use self::payments::Payments;
use self::report::Report;
use self::server::Server;
use self::shell::Shell;
use crate::error::Error;
use crate::paths;
use crate::setup::node::{Node as Program, find};
use crate::setup::{self, Purpose};

/// The longest that the demo should take on two cores.
const BOUND: Duration = Duration::from_secs(60);

/// How to show it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Choice {
    /// Leave the server and the node running.
    pub(crate) keep: bool,
    /// Show an optimised build.
    pub(crate) release: bool,
}

/// Sets up, builds, and shows it all.
///
/// # Errors
/// The first thing that went otherwise than it should.
pub(crate) fn run(choice: Choice) -> Result<(), Error> {
    setup::run(Purpose::Running)?;
    show(choice)
}

/// The same on a machine that is set up.
///
/// # Errors
/// As [`run`].
pub(crate) fn show(choice: Choice) -> Result<(), Error> {
    let program = find()?.ok_or(Error::Missing { count: 1 })?;
    // Looked for before the build, which may take minutes.
    let client = node::client_folder(&program)?;
    let anya = binary::build(&paths::repository()?, choice.release)?;
    let programs = [anya.parent().unwrap_or(&anya), client.as_path()];
    let started = Instant::now();
    let mut household = Household::found()?;
    let mut report = Report::default();
    match play(&mut household, &mut report, &program, &programs, choice.keep) {
        Ok(closing) => {
            print!("\n{closing}");
            println!("\n{}", report::closing_line(started.elapsed(), BOUND));
        }
        Err(source) => {
            // What a command says of a server that is gone is not the cause.
            let died = household.check_alive().err().map(Box::new);
            let logs = household.end_in_failure();
            return Err(Error::Demo { source: Box::new(source), died, logs });
        }
    }
    if choice.keep {
        let preamble = shell::preamble(household.folder(), &programs);
        println!("\n{}", report.instructions(&preamble, &household.processes(), household.folder()));
        household.leave();
    }
    Ok(())
}

/// The steps. Returns the closing table.
fn play(
    household: &mut Household,
    report: &mut Report,
    program: &Program,
    programs: &[&Path],
    keep: bool,
) -> Result<String, Error> {
    let shell = &Shell::new(household.folder(), &household.logs(), programs)?;
    let node = &report.step("a Bitcoin node on regtest", |_| Node::start(household, shell, program))?;
    let server = report
        .step("a data folder, with a keystore sealed under a passphrase", |_| Server::init(shell, node))?;
    report.step("the server, on a Unix socket and on TLS; doctor finds nothing", |report| {
        server.start(household, report)
    })?;
    let people = &report
        .step("a tenant, three operators, each with a credential and an API key", |report| {
            organisation::found(shell, report)
        })?;
    server.show_tls(&people.alice, report)?;
    let supplier = node.address("supplier")?;
    let stranger = node.address("stranger")?;
    let policy = report
        .step("a policy from a file; from here on its changes need two of three", |report| {
            people.first_policy(shell, &supplier, report)
        })?;
    let cosigner = &report.step("a signer outside, who knows only bitcoin-cli", |_| Cosigner::new(node))?;
    let wallets = &report
        .step("keys, and wallets on them: wpkh, tr, and 2-of-3 with the signer outside", |report| {
            wallets::create(&people.setup, cosigner, report)
        })?;
    report.step("coins to all three wallets; the balances show them", |report| {
        wallets.fund(household, node, &people.setup, cosigner, report)
    })?;
    report.step("another policy, for the vault: alice proposes, bob and carol approve", |report| {
        people.second_policy(shell, &policy, &wallets.vault, report)
    })?;
    let payments = Payments { shell, node, people, wallets, supplier: &supplier, stranger: &stranger };
    let small = report.step("a small payment, over the API by curl: the policy lets it pass", |report| {
        payments.small(report)
    })?;
    let large = report
        .step("a large one waits; two sign what they approve; it goes", |report| payments.large(report))?;
    report.step("mined: one confirmation does not settle them, two do", |report| {
        payments.settle(household, &[&small, &large], report)?;
        payments.check_supplier()
    })?;
    let unattended = report
        .step("one to a stranger, which shall expire in two seconds", |report| payments.unattended(report))?;
    report.step("one beyond the day's limit is refused", |report| payments.refused(report))?;
    report.step("one that carol rejects", |report| payments.rejected(report))?;
    report.step("the one to a stranger has expired", |_| payments.expired(household, &unattended))?;
    let vault = report.step("out of the vault: a PSBT goes out and comes back signed", |report| {
        payments.out_of_the_vault(cosigner, report)
    })?;
    report.step("mined and settled", |report| payments.settle(household, &[&vault], report))?;
    let proof = report
        .step("the audit log is proven; one byte altered, and the entry is named", |report| {
            audit::prove(shell, &people.auditor, report)
        })?;
    let table = report.table(&people.alice)?;
    if !keep {
        report.step("the server stops when it is asked to", |_| household.stop(server::NAME))?;
    }
    Ok(format!("{table}\naudit log: {proof}\n"))
}
