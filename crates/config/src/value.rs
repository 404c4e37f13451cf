//! Values with their source, and how text becomes one.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anya_primitives::{FeeRate, amount::fee_rate_sat_vb};
use secrecy::SecretString;

use crate::settings::{Kind, Setting};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A command line flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value of the right shape for its setting.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Path(PathBuf),
    Integer(u64),
    List(Vec<String>),
    Secret(SecretString),
}

impl Value {
    /// Reads `text` as `setting` wants it. `base` is where relative paths start.
    pub(crate) fn parse(setting: &Setting, text: &str, base: Option<&Path>) -> Result<Self, String> {
        match setting.kind {
            Kind::Text => Ok(Self::Text(text.to_owned())),
            Kind::Path => Ok(Self::Path(absolute(text, base))),
            Kind::Choice(words) => {
                if words.contains(&text) {
                    return Ok(Self::Text(text.to_owned()));
                }
                Err(format!("expected one of {}", words.join(", ")))
            }
            Kind::HttpUrl => http_url(text).map(|()| Self::Text(text.trim_end_matches('/').to_owned())),
            Kind::SocketAddress => match text.parse::<SocketAddr>() {
                Ok(_) => Ok(Self::Text(text.to_owned())),
                Err(_) => {
                    Err("expected an IP address and a port, such as 127.0.0.1:8443 or [::1]:8443".into())
                }
            },
            Kind::Endpoint => endpoint(text).map(|()| Self::Text(text.to_owned())),
            Kind::Integer(least, most) => match text.parse::<u64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(Self::Integer(number)),
                _ => Err(format!("expected a whole number between {least} and {most}")),
            },
            Kind::FeeRate => {
                let rate = text.parse().ok().and_then(fee_rate_sat_vb::from_sat_vb);
                match rate.filter(|rate| *rate > FeeRate::ZERO) {
                    Some(_) => Ok(Self::Text(text.to_owned())),
                    None => Err("expected a number of sat/vB above 0 and up to 100000".into()),
                }
            }
            Kind::List => Ok(Self::List(
                text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            )),
            Kind::Secret if text.is_empty() => Err("is empty".into()),
            Kind::Secret => Ok(Self::Secret(SecretString::from(text.to_owned()))),
        }
    }

    /// The value as people read it; a secret as a mask.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Path(path) => path.display().to_string(),
            Self::Integer(number) => number.to_string(),
            Self::List(words) => words.join(","),
            Self::Secret(_) => "********".into(),
        }
    }
}

/// An empty path stays empty: that is how a listener is turned off.
fn absolute(text: &str, base: Option<&Path>) -> PathBuf {
    let path = Path::new(text);
    match base {
        Some(base) if !text.is_empty() && path.is_relative() => base.join(path),
        _ => path.to_path_buf(),
    }
}

pub(crate) fn http_url(text: &str) -> Result<(), String> {
    let expected = "expected http://HOST:PORT of the node's RPC, such as http://127.0.0.1:8332";
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(format!("{expected} (nodes speak plain HTTP; reach a remote one through a tunnel)"));
    };
    if rest.contains('@') {
        return Err(format!("{expected}; put user and password in node.user and node.password_file"));
    }
    host_and_port(rest.trim_end_matches('/')).ok_or_else(|| expected.to_owned())
}

fn endpoint(text: &str) -> Result<(), String> {
    let expected = "expected unix:PATH or https://HOST:PORT";
    let fits = match (text.strip_prefix("unix:"), text.strip_prefix("https://")) {
        (Some(path), _) => !path.is_empty(),
        (_, Some(rest)) => host_and_port(rest.trim_end_matches('/')).is_some(),
        _ => false,
    };
    if fits { Ok(()) } else { Err(expected.to_owned()) }
}

fn host_and_port(text: &str) -> Option<()> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good_host = match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        }
    };
    let good_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    (good_host && good_port).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &str, text: &str) -> Result<String, String> {
        let setting = Setting::find(key).unwrap();
        Value::parse(setting, text, Some(Path::new("/base"))).map(|value| value.shown())
    }

    #[test]
    fn urls_without_a_port_or_with_a_password_are_refused() {
        assert_eq!(parse("node.url", "http://10.0.0.1:8332/").unwrap(), "http://10.0.0.1:8332");
        assert_eq!(parse("node.url", "http://[::1]:8332").unwrap(), "http://[::1]:8332");
        for bad in ["", "127.0.0.1:8332", "http://host", "http://host:0", "http://host:99999", "http://a/b:1"]
        {
            assert!(parse("node.url", bad).is_err(), "{bad}");
        }
        assert!(parse("node.url", "http://u:p@host:8332").unwrap_err().contains("node.password_file"));
        assert!(parse("node.url", "https://host:8332").unwrap_err().contains("tunnel"));
    }

    #[test]
    fn numbers_keep_their_bounds() {
        assert_eq!(parse("node.timeout_seconds", "1").unwrap(), "1");
        assert_eq!(parse("node.timeout_seconds", "600").unwrap(), "600");
        for bad in ["0", "601", "-1", "1.5", "", "ten", "99999999999999999999"] {
            assert!(parse("node.timeout_seconds", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn relative_paths_start_at_the_base_and_an_empty_one_stays_empty() {
        assert_eq!(parse("server.listen_unix", "a.sock").unwrap(), "/base/a.sock");
        assert_eq!(parse("server.listen_unix", "/run/a.sock").unwrap(), "/run/a.sock");
        assert_eq!(parse("server.listen_unix", "").unwrap(), "");
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(parse("node.password", "hunter2").unwrap(), "********");
        let value = Value::parse(Setting::find("node.password").unwrap(), "hunter2", None).unwrap();
        assert!(!format!("{value:?}").contains("hunter2"));
    }
}
