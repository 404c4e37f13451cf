//! A socket that is looked at for a moment before its thread sleeps.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};

/// How long a thread looks out for the next call. Whoever was just answered asks again within this time if it asks again
/// at once; waking the thread up would take about as long.
const LINGER: Duration = Duration::from_micros(100);

/// Reads from a socket. While it lingers it gives way to whoever needs the processor.
pub(super) struct Eager<'a>(pub(super) &'a UnixStream);

impl Read for Eager<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let until = Instant::now() + LINGER;
        loop {
            match recv(self.0, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, count)) => return Ok(count),
                Err(Errno::AGAIN) if Instant::now() < until => thread::yield_now(),
                Err(Errno::AGAIN) => return self.0.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
