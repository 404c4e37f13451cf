//! A tenant with three operators, and the policy that binds them.

use std::fs;

use super::answer::Answer;
use super::caller::{Caller, write_private};
use super::policy;
use super::report::Report;
use super::shell::Shell;
use crate::error::Error;

/// What an operator's API key allows.
const OPERATOR_SCOPES: [&str; 4] = ["read", "operations:propose", "operations:decide", "governance:propose"];

/// Who acts in the demo.
pub(super) struct People<'a> {
    /// The key that sets the tenant up; nobody's in particular.
    pub(super) setup: Caller<'a>,
    pub(super) alice: Caller<'a>,
    pub(super) bob: Caller<'a>,
    pub(super) carol: Caller<'a>,
    pub(super) auditor: Caller<'a>,
    /// The operators' ids, in the order of their names.
    pub(super) operators: [String; 3],
}

/// Creates the tenant, the operators with their credentials, and everybody's API keys.
///
/// # Errors
/// When a command fails or answers otherwise than expected.
pub(super) fn found<'a>(shell: &'a Shell, report: &mut Report) -> Result<People<'a>, Error> {
    let created =
        shell.run("anya", &["tenant", "create", "treasury", "--token-out", "setup.token", "--json"])?;
    created.expect("/tenant/name", "treasury")?;
    let setup = Caller::new(shell, "setup");
    let (alice, first) = operator(shell, &setup, "alice", report)?;
    let (bob, second) = operator(shell, &setup, "bob", report)?;
    let (carol, third) = operator(shell, &setup, "carol", report)?;
    let words = ["api-key", "create", "auditor", "--scope", "audit:read", "--token-out", "auditor.token"];
    setup.anya(&words)?;
    let auditor = Caller::new(shell, "auditor");
    Ok(People { setup, alice, bob, carol, auditor, operators: [first, second, third] })
}

/// An operator makes a credential, which stays with them, and is added by an operation.
fn operator<'a>(
    shell: &'a Shell,
    setup: &Caller<'_>,
    name: &str,
    report: &mut Report,
) -> Result<(Caller<'a>, String), Error> {
    let file = |ending: &str| format!("{name}.{ending}");
    let (credential, passphrase, token) = (file("credential"), file("passphrase"), file("token"));
    write_private(&shell.file(&passphrase), &format!("{name} has a long passphrase\n"))?;
    let keygen =
        ["operator", "keygen", name, "--out", &credential, "--passphrase-file", &passphrase, "--json"];
    shell.run("anya", &keygen)?.expect("/sealed", true)?;
    // The tenant has no policy yet: whoever may propose sets it up.
    let added = setup.anya(&["operator", "add", name, "--credential", &credential, "--wait"])?;
    added.expect("/operation/state", "settled")?;
    let operation = format!("operator {name}");
    report.operation(&added.text("/operation/id")?, &operation, "no quorum yet", "settled");
    let id = added.text("/operation/intent/act/operator")?;
    let mut words = vec!["api-key", "create", name, "--operator", &id, "--token-out", &token];
    words.extend(OPERATOR_SCOPES.iter().flat_map(|scope| ["--scope", scope]));
    setup.anya(&words)?;
    let (path, header) = (shell.file(&token), shell.file(&file("header")));
    let token = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    write_private(&header, &format!("Authorization: Bearer {}\n", token.trim()))?;
    Ok((Caller::new(shell, name), id))
}

impl People<'_> {
    /// Puts the first policy in force. From here on, changes of policy need two of three.
    ///
    /// # Errors
    /// When a command fails or answers otherwise than expected.
    pub(super) fn first_policy(
        &self,
        shell: &Shell,
        supplier: &str,
        report: &mut Report,
    ) -> Result<String, Error> {
        let operators: Vec<_> = self.operators.iter().map(String::as_str).collect();
        let text = policy::first(&operators, supplier);
        write_private(&shell.file("policy.toml"), &text)?;
        let set = self.setup.anya(&["policy", "set", "policy.toml", "--wait"])?;
        set.expect("/operation/state", "settled")?;
        report.operation(&set.text("/operation/id")?, "policy 1", "no quorum yet", "settled");
        let shown = self.alice.anya(&["policy", "show"])?;
        shown.expect("/version", 1)?.expect("/policy/settle_confirmations", policy::SETTLE)?;
        report.by_hand("the policy in force", &shown);
        Ok(text)
    }

    /// Puts the second policy in force: alice proposes, bob and carol approve.
    ///
    /// # Errors
    /// When a command fails or answers otherwise than expected.
    pub(super) fn second_policy(
        &self,
        shell: &Shell,
        first: &str,
        vault: &str,
        report: &mut Report,
    ) -> Result<(), Error> {
        write_private(&shell.file("policy-2.toml"), &policy::second(first, vault))?;
        let set = self.alice.anya(&["policy", "set", "policy-2.toml"])?;
        set.expect("/operation/state", "pending_approval")?
            .expect("/operation/evaluation/requirements/0/rule", "governance")?
            .expect("/operation/evaluation/requirements/0/approvals", 2)?;
        let id = set.text("/operation/id")?;
        report.operation(&id, "policy 2", "governance: two of three", "settled");
        self.approve_by_two(&id)?;
        self.alice.wait(&id, "settled")?;
        self.alice.anya(&["policy", "show"])?.expect("/version", 2)?;
        Ok(())
    }

    /// Bob and carol approve what alice proposed; one of them is not enough. Returns carol's answer.
    ///
    /// # Errors
    /// When a command fails or the first ballot is taken for two.
    pub(super) fn approve_by_two(&self, id: &str) -> Result<Answer, Error> {
        self.bob.decide("approve", id)?.expect("/state", "pending_approval")?;
        let approved = self.carol.decide("approve", id)?;
        let ballots = approved.at("/ballots")?.as_array().map(Vec::len);
        if ballots == Some(2) {
            Ok(approved)
        } else {
            Err(approved.unexpected("/ballots", "two", &format!("{ballots:?}")))
        }
    }
}
