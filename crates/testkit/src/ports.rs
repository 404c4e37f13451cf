use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
};

use crate::Error;

/// Below the range from which the kernel takes the ports of outgoing connections: a node that restarts must
/// find its port free again.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const ATTEMPTS: u32 = 200;

/// A loopback port that nobody listens on now. Another process may take it before the caller does: retry then.
pub(crate) fn free() -> Result<u16, Error> {
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        let span = u64::from(RANGE.end - RANGE.start);
        let offset = u16::try_from(RandomState::new().hash_one(attempt) % span).unwrap_or(0);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, RANGE.start + offset)) {
            Ok(_) => return Ok(RANGE.start + offset),
            Err(error) => last = Some(error),
        }
    }
    let source = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(Error::Io { what: "look for a free port".to_owned(), source })
}
