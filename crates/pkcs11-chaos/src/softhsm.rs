//! Tokens of SoftHSM2 in a temporary folder.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    chaos::Chaos,
    error::{Error, Result},
};

/// Where Debian, and a build from source, put the library; `$ANYA_SOFTHSM2` comes first.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// One initialised token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its label.
    pub label: String,
    /// The slot that it is in.
    pub slot: u64,
    /// Its serial number, 16 hexadecimal digits.
    pub serial: String,
    /// The security officer's PIN.
    pub so_pin: String,
    /// The user's PIN.
    pub pin: String,
}

/// A token store of SoftHSM2, deleted when this is dropped.
#[derive(Debug)]
pub struct SoftHsm {
    dir: TempDir,
    module: PathBuf,
    tokens: Vec<Token>,
}

impl SoftHsm {
    /// A store with one token, called `anya`.
    ///
    /// # Errors
    /// [`Error::Missing`] when SoftHSM2 is not installed.
    pub fn new() -> Result<Self> {
        Self::with_tokens(&["anya"])
    }

    /// A store with a token for each label.
    ///
    /// # Errors
    /// [`Error::Missing`] when SoftHSM2 is not installed.
    pub fn with_tokens(labels: &[&str]) -> Result<Self> {
        let module = Self::library()?;
        let dir = tempfile::Builder::new()
            .prefix("anya-softhsm-")
            .tempdir()
            .map_err(Error::io("create a folder in", std::env::temp_dir()))?;
        let store = dir.path().join("tokens");
        fs::create_dir(&store).map_err(Error::io("create", &store))?;
        let conf = dir.path().join("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = true\n",
            store.display()
        );
        fs::write(&conf, text).map_err(Error::io("write", &conf))?;
        let mut hsm = Self { dir, module, tokens: Vec::new() };
        for label in labels {
            hsm.add_token(label)?;
        }
        Ok(hsm)
    }

    /// The library of SoftHSM2.
    ///
    /// # Errors
    /// [`Error::Missing`] when it is not installed.
    pub fn library() -> Result<PathBuf> {
        std::env::var_os("ANYA_SOFTHSM2")
            .map(PathBuf::from)
            .into_iter()
            .chain(MODULES.iter().map(PathBuf::from))
            .find(|path| path.is_file())
            .ok_or(Error::Missing { what: "SoftHSM2 (Debian: softhsm2)" })
    }

    /// Initialises another token.
    ///
    /// # Errors
    /// [`Error::Failed`] with what SoftHSM's tool says.
    pub fn add_token(&mut self, label: &str) -> Result<&Token> {
        let (so_pin, pin) = ("so-pin-1".to_owned(), "user-pin-1".to_owned());
        self.softhsm2_util(&[
            "--init-token",
            "--free",
            "--label",
            label,
            "--so-pin",
            &so_pin,
            "--pin",
            &pin,
        ])?;
        let (slot, serial) = self.find(label)?;
        self.tokens.push(Token { label: label.to_owned(), slot, serial, so_pin, pin });
        self.tokens.last().ok_or(Error::Missing { what: "the token just made" })
    }

    /// The first token.
    ///
    /// # Panics
    /// When the store was made without one.
    pub fn token(&self) -> &Token {
        &self.tokens[0]
    }

    /// Every token, in the order of their making.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// SoftHSM's library, to be loaded without chaos.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The folder, for whatever else a test wants deleted with the tokens.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file, which SoftHSM is told of by `SOFTHSM2_CONF`.
    pub fn conf(&self) -> PathBuf {
        self.dir.path().join("softhsm2.conf")
    }

    /// What a process needs in its environment to load [`SoftHsm::module`] and find these tokens. A module of
    /// [`SoftHsm::chaos`] needs nothing: it sets this itself.
    pub fn env(&self) -> Vec<(&'static str, OsString)> {
        vec![("SOFTHSM2_CONF", self.conf().into_os_string())]
    }

    /// A chaos module over these tokens, in a folder of its own beside them.
    ///
    /// # Errors
    /// [`Error::Failed`] when the module has to be built and cannot be.
    pub fn chaos(&self) -> Result<Chaos> {
        let dir = tempfile::Builder::new()
            .prefix("chaos-")
            .tempdir_in(self.dir.path())
            .map_err(Error::io("create a folder in", self.dir.path()))?
            .keep();
        let chaos = Chaos::new(&dir)?;
        chaos.forward(&self.module, &self.env())?;
        Ok(chaos)
    }

    /// Changes the user's PIN of a token, as an administrator with another tool would.
    ///
    /// # Errors
    /// [`Error::Missing`] without OpenSC's `pkcs11-tool`; [`Error::Failed`] with what it says.
    pub fn change_pin(&mut self, label: &str, new: &str) -> Result<()> {
        let Some(token) = self.tokens.iter().find(|token| token.label == label) else {
            return Err(Error::Failed {
                program: "change_pin".to_owned(),
                output: format!("no token {label}"),
            });
        };
        let mut command = Command::new("pkcs11-tool");
        command.arg("--module").arg(&self.module).args([
            "--slot",
            &token.slot.to_string(),
            "--login",
            "--pin",
        ]);
        command.args([&token.pin, "--change-pin", "--new-pin", new]);
        self.run(command, "pkcs11-tool (Debian: opensc)")?;
        for token in &mut self.tokens {
            if token.label == label {
                new.clone_into(&mut token.pin);
            }
        }
        Ok(())
    }

    /// Slot and serial number of the token with this label, as the tool lists them.
    fn find(&self, label: &str) -> Result<(u64, String)> {
        let listing = self.softhsm2_util(&["--show-slots"])?;
        let (mut slot, mut serial) = (None, None);
        for line in listing.lines() {
            let field = |name: &str| line.trim().strip_prefix(name).map(str::trim).map(str::to_owned);
            if let Some(number) = line.strip_prefix("Slot ") {
                slot = number.trim().parse().ok();
                serial = None;
            } else if let Some(value) = field("Serial number:") {
                serial = Some(value);
            } else if field("Label:").is_some_and(|value| value == label)
                && let (Some(slot), Some(serial)) = (slot, serial.take())
            {
                return Ok((slot, serial));
            }
        }
        Err(Error::Failed {
            program: "softhsm2-util".to_owned(),
            output: format!("no token {label}:\n{listing}"),
        })
    }

    fn softhsm2_util(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("softhsm2-util");
        command.arg("--module").arg(&self.module).args(arguments);
        self.run(command, "softhsm2-util (Debian: softhsm2)")
    }

    fn run(&self, mut command: Command, what: &'static str) -> Result<String> {
        let output = command.envs(self.env()).output().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing { what },
            _ => Error::Io { action: "run", path: PathBuf::from(command.get_program()), source: error },
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let output = format!("{text}{}", String::from_utf8_lossy(&output.stderr)).trim().to_owned();
        Err(Error::Failed { program: command.get_program().to_string_lossy().into_owned(), output })
    }
}
