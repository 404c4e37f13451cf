//! Questions to the person at the terminal. Without a terminal there is nobody to ask, and the answer is an error.

use std::io::{BufRead, IsTerminal, Write};

use secrecy::{ExposeSecret, SecretString};

use crate::error::{Error, Result};

/// Whether a person can be asked.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for a yes. `assume_yes` is the `--yes` flag.
pub(crate) fn confirm(question: &str, assume_yes: bool) -> Result<()> {
    if assume_yes {
        return Ok(());
    }
    if !is_interactive() {
        return Err(Error::NotConfirmed(format!(
            "{question} Nobody can be asked here: pass --yes to say yes"
        )));
    }
    let mut stderr = std::io::stderr();
    let mut answer = String::new();
    let asked = write!(stderr, "{question} [y/N] ")
        .and_then(|()| stderr.flush())
        .and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    match asked {
        Ok(_) if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") => Ok(()),
        _ => Err(Error::NotConfirmed("not confirmed; nothing was done".into())),
    }
}

/// Asks for a secret without echo.
pub(crate) fn secret(question: &str) -> Result<SecretString> {
    rpassword::prompt_password(format!("{question}: "))
        .map(SecretString::from)
        .map_err(|error| Error::NotConfirmed(format!("the terminal did not take the passphrase: {error}")))
}

/// Asks twice for a new secret.
pub(crate) fn new_secret(question: &str) -> Result<SecretString> {
    let first = secret(question)?;
    let second = secret(&format!("{question}, once more"))?;
    if first.expose_secret() == second.expose_secret() {
        return Ok(first);
    }
    Err(Error::Invalid("the two passphrases differ".into()))
}
