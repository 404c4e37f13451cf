//! What one device needs to be told.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anya_provider::{Error, Result};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{profile::Profile, wire::MOST_SESSIONS};

/// Which token of the module is meant. Slots are numbered anew at every start of some modules, so a number is no name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenSelector {
    /// The one with this label.
    Label(String),
    /// The one with this serial number.
    Serial(String),
}

/// As whom to log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserKind {
    /// `CKU_USER`.
    #[default]
    User,
    /// A kind of the vendor's own, by its number, such as Luna's crypto user (`0x80000001`).
    Vendor(u32),
}

/// The program that holds a module, and how it is called: it must run [`crate::worker::main`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

impl WorkerCommand {
    /// This very program, called with `argument`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the system does not say which program this is.
    pub fn this_program(argument: &str) -> Result<Self> {
        let program = env::current_exe().map_err(|error| Error::Unavailable {
            provider: "pkcs11".to_owned(),
            reason: format!("the path of this program is not known: {error}"),
        })?;
        Ok(Self { program, args: vec![argument.into()] })
    }

    /// Another program.
    pub fn program(path: impl AsRef<Path>) -> Self {
        Self { program: path.as_ref().to_owned(), args: Vec::new() }
    }
}

/// One device.
#[derive(Clone)]
pub struct Pkcs11Config {
    /// The provider's name.
    pub name: String,
    /// The vendor's PKCS#11 module.
    pub module: PathBuf,
    /// How the device wants to be spoken to.
    pub profile: Profile,
    /// Which of the module's tokens.
    pub token: TokenSelector,
    /// The user's PIN.
    pub pin: SecretString,
    /// As whom to log in.
    pub user: UserKind,
    /// The string that `C_Initialize` gets as its reserved argument, such as Yubico's `connector=http://...`.
    pub initialize_args: Option<String>,
    /// The environment of the module; nothing else is in it.
    pub env: Vec<(String, String)>,
    /// How many sessions work at once, 1 to 64.
    pub sessions: u16,
    /// The program that holds the module.
    pub worker: WorkerCommand,
    /// Whether a second worker stands by, logged in, to take over at once. Only where the profile lets processes
    /// share the device.
    pub standby: bool,
}

impl Pkcs11Config {
    pub(crate) fn check(&self) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::invalid("name", "a provider needs a name"));
        }
        if !(1..=MOST_SESSIONS).contains(&usize::from(self.sessions)) {
            return Err(Error::invalid("sessions", "1 to 64 are possible"));
        }
        if !self.module.is_file() {
            let path = self.module.display();
            return Err(Error::invalid(
                "module",
                format!("{path} is no file: install the vendor's PKCS#11 module"),
            ));
        }
        if !self.worker.program.is_file() {
            let path = self.worker.program.display();
            return Err(Error::invalid("worker", format!("{path} is no program")));
        }
        Ok(())
    }

    pub(crate) fn wants_standby(&self) -> bool {
        self.standby && self.profile.shared
    }
}
