use std::{io, path::Path, sync::Mutex};

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::header::HeaderValue;
use secrecy::ExposeSecret;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::RpcAuth;
use crate::Error;

/// A cookie is about 75 bytes; more than this is another file.
const MAX_COOKIE: u64 = 1024;

/// The `Authorization` header of a node, from its cookie file or from the configuration.
pub(super) struct Credentials {
    auth: RpcAuth,
    header: Mutex<Option<Zeroizing<String>>>,
}

impl Credentials {
    pub(super) fn new(auth: RpcAuth) -> Result<Self, Error> {
        if let RpcAuth::UserPass { user, .. } = &auth
            && (user.is_empty() || user.contains(':'))
        {
            return Err(Error::Config {
                field: "user",
                message: "must not be empty or contain a colon".to_owned(),
            });
        }
        Ok(Self { auth, header: Mutex::new(None) })
    }

    /// The header's value, read from the cookie file at the first use.
    pub(super) async fn header(&self) -> Result<HeaderValue, Error> {
        let cached =
            self.header.lock().ok().and_then(|header| header.as_ref().map(|text| text_to_header(text)));
        match cached {
            Some(header) => header,
            None => self.read().await,
        }
    }

    /// Reads the cookie again; false when the credentials cannot change.
    pub(super) async fn refresh(&self) -> Result<bool, Error> {
        match &self.auth {
            RpcAuth::Cookie(_) => self.read().await.map(|_| true),
            RpcAuth::UserPass { .. } => Ok(false),
        }
    }

    async fn read(&self) -> Result<HeaderValue, Error> {
        let pair = match &self.auth {
            RpcAuth::Cookie(path) => {
                read_cookie(path).await.map_err(|source| Error::Cookie { path: path.clone(), source })?
            }
            RpcAuth::UserPass { user, password } => {
                Zeroizing::new(format!("{user}:{}", password.expose_secret()))
            }
        };
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        let text = Zeroizing::new(format!("Basic {}", encoded.as_str()));
        let header = text_to_header(&text);
        if let Ok(mut cached) = self.header.lock() {
            *cached = Some(text);
        }
        header
    }
}

fn text_to_header(text: &str) -> Result<HeaderValue, Error> {
    let mut header = HeaderValue::from_str(text).map_err(|_| Error::Unauthorized)?;
    header.set_sensitive(true);
    Ok(header)
}

async fn read_cookie(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    tokio::fs::File::open(path).await?.take(MAX_COOKIE).read_to_string(&mut text).await?;
    let cookie = text.trim();
    if cookie.split_once(':').is_none_or(|(user, secret)| user.is_empty() || secret.is_empty()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a cookie file"));
    }
    Ok(Zeroizing::new(cookie.to_owned()))
}
