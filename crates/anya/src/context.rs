//! What every command has at hand: the global flags, the configuration, a client.

use std::path::{Path, PathBuf};

use anya_client::{Client, Deadlines, Endpoint};
use anya_config::{Config, Layers, Loaded, Source, read_secret_file};
use anya_primitives::ErrorKind;
use secrecy::SecretString;

use crate::{
    cli::Globals,
    error::{Error, Result},
    output::Output,
};

/// Where `init` puts the token of the first API key.
pub(crate) const ADMIN_TOKEN: &str = "admin.token";

/// Where `init` puts the verifier key of the audit log's checkpoints.
pub(crate) const AUDIT_KEY: &str = "audit.vkey";

/// Flags that override settings: the setting, the flag's name, the value.
pub(crate) type Overrides = Vec<(&'static str, &'static str, String)>;

/// Surroundings of a command.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) globals: Globals,
    pub(crate) out: Output,
}

impl Context {
    pub(crate) fn new(globals: Globals) -> Self {
        let out = Output { json: globals.json };
        Self { globals, out }
    }

    /// The configuration under the global flags.
    pub(crate) fn load(&self) -> Result<Loaded> {
        self.load_with(Vec::new())
    }

    /// The configuration under the global flags and those of the command.
    pub(crate) fn load_with(&self, overrides: Overrides) -> Result<Loaded> {
        let globals = &self.globals;
        let mut flags = overrides;
        let mut flag = |key, name, value: Option<String>| flags.extend(value.map(|value| (key, name, value)));
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        flag("data.dir", "--data-dir", text(&globals.data_dir));
        flag("client.server", "--server", globals.server.clone());
        flag("client.ca_file", "--ca-file", text(&globals.ca_file));
        flag("client.token_file", "--token-file", text(&globals.token_file));
        flag("client.timeout_seconds", "--timeout", globals.timeout.map(|seconds| seconds.to_string()));
        let layers =
            Layers { file: globals.config.clone(), environment: std::env::vars_os().collect(), flags };
        Ok(anya_config::load(&layers)?)
    }

    /// A client of the server that the configuration names.
    pub(crate) fn client(&self) -> Result<Client> {
        let loaded = self.load()?;
        let endpoint = endpoint(&loaded.config)?;
        let token = token(&loaded)?;
        let deadlines = Deadlines { call: loaded.config.client.timeout };
        Ok(Client::new(&endpoint, Some(&token), deadlines)?)
    }
}

fn endpoint(config: &Config) -> Result<Endpoint> {
    let endpoint = match (&config.client.server, &config.server.listen_unix) {
        (Some(server), _) => server.parse()?,
        (None, Some(socket)) => Endpoint::Unix(socket.clone()),
        (None, None) => {
            let remedy = "no server to talk to: pass --server unix:PATH or --server https://HOST:PORT";
            return Err(Error::Invalid(remedy.into()));
        }
    };
    match &config.client.ca_file {
        None => Ok(endpoint),
        Some(path) => {
            let pem = std::fs::read(path).map_err(Error::file("read", path))?;
            Ok(endpoint.with_ca(pem)?)
        }
    }
}

/// A flag or variable that names a token file wins over `ANYA_TOKEN`; one in the configuration file does not.
fn token(loaded: &Loaded) -> Result<SecretString> {
    let file = loaded.config.client.token_file.as_ref();
    let in_file = matches!(loaded.source("client.token_file"), Some(Source::File { .. }));
    if let Some(path) = file.filter(|_| !in_file) {
        return Ok(read_secret_file(path)?);
    }
    if let Ok(token) = std::env::var("ANYA_TOKEN")
        && !token.trim().is_empty()
    {
        return Ok(SecretString::from(token.trim().to_owned()));
    }
    let admin = loaded.config.data.dir.join(ADMIN_TOKEN);
    match file {
        Some(path) => Ok(read_secret_file(path)?),
        None if is_there(&admin) => Ok(read_secret_file(&admin)?),
        None => Err(Error::Part {
            kind: ErrorKind::Unauthenticated,
            message: "no API token: pass --token-file FILE or set ANYA_TOKEN".into(),
        }),
    }
}

fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}
