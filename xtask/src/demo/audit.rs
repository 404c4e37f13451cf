//! The audit log, whole and with one byte altered.

use std::fs;

use serde_json::Value;

use super::caller::{Caller, write_private};
use super::report::Report;
use super::shell::Shell;
use crate::error::Error;

/// Exports the log, proves it, alters one byte of a copy, and sees that the verifier names the entry.
///
/// # Errors
/// When the whole log does not hold, or the altered one does.
pub(super) fn prove(shell: &Shell, auditor: &Caller<'_>, report: &mut Report) -> Result<String, Error> {
    let exported = auditor.anya(&["audit", "export", "--out", "audit.jsonl"])?;
    let verify = |file| ["audit", "verify", "--file", file, "--key", "data/audit.vkey", "--json"];
    let whole = shell.run("anya", &verify("audit.jsonl"))?;
    whole.expect("/ok", true)?.expect("/key_trusted", true)?;
    let entries = whole.number("/head/size")?;
    whole.expect("/signed_size", entries)?;
    report.by_hand("prove the exported log offline", &whole);
    let served = auditor.anya(&["audit", "verify", "--key", "data/audit.vkey"])?;
    served.expect("/head", whole.at("/head")?)?;
    report.by_hand("prove the log as it stands on the server", &served);

    let path = shell.file("audit.jsonl");
    let log = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let altered = alter(&log);
    let (altered, entry) = altered.ok_or_else(|| exported.unexpected("the log", "a payment", "none"))?;
    write_private(&shell.file("altered.jsonl"), &altered)?;
    let found = shell.run_to("anya", &verify("altered.jsonl"), 9)?;
    found.expect_said(&format!("entry {entry} was altered"))?;
    Ok(format!("{entries} entries hold; with one byte altered, entry {entry} is named"))
}

/// The log with one byte altered, the first digit of a payment's amount, and the number of that entry.
fn alter(log: &str) -> Option<(String, u64)> {
    const AMOUNT: &str = "\"amount_sat\":";
    let mut start = 0;
    for line in log.split_inclusive('\n') {
        if let Some(at) = line.find(AMOUNT) {
            let digit = start + at + AMOUNT.len();
            let entry = serde_json::from_str::<Value>(line).ok()?.get("seq")?.as_u64()?;
            let other = if log[digit..].starts_with('9') { "1" } else { "9" };
            return Some((format!("{}{other}{}", &log[..digit], log.get(digit + 1..)?), entry));
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_of_one_entry_is_altered() {
        let log = "{\"type\":\"header\"}\n{\"seq\":1}\n{\"seq\":2,\"amount_sat\":150}\n{\"seq\":3,\"amount_sat\":9}\n";
        let (altered, entry) = alter(log).unwrap();
        assert_eq!(entry, 2);
        assert_eq!(altered, log.replace("150", "950"));
        assert_eq!(alter("{\"seq\":3,\"amount_sat\":9}").unwrap().0, "{\"seq\":3,\"amount_sat\":1}");
        assert!(alter("{\"seq\":1}\n").is_none());
    }
}
