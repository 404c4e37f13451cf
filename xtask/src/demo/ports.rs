//! Loopback ports that nobody listens on.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::error::Error;

/// Below the range from which the system takes the ports of outgoing connections.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
const ATTEMPTS: u32 = 200;

/// A port that is free now.
///
/// # Errors
/// When none can be bound.
pub(super) fn free() -> Result<u16, Error> {
    let mut last = std::io::ErrorKind::AddrInUse.into();
    for attempt in 0..ATTEMPTS {
        let offset = u16::try_from(RandomState::new().hash_one(attempt) % u64::from(COUNT)).unwrap_or(0);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST + offset)) {
            Ok(_) => return Ok(FIRST + offset),
            Err(error) => last = error,
        }
    }
    Err(Error::io("listen on a port of", Path::new("127.0.0.1"))(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        TcpListener::bind((Ipv4Addr::LOCALHOST, free().unwrap())).unwrap();
    }
}
