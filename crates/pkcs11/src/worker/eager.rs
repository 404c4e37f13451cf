//! A socket that is looked at for a moment before its thread sleeps, while that pays.

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

/// How long a thread looks out for the next call; waking it up would take about as long.
const LINGER: Duration = Duration::from_micros(100);

/// Reads from a socket. It lingers when the last call came so soon that lingering would have met it, and gives way to
/// whoever needs the processor.
pub(super) struct Eager<'a> {
    socket: &'a UnixStream,
    soon: bool,
}

impl<'a> Eager<'a> {
    pub(super) fn new(socket: &'a UnixStream) -> Self {
        Self { socket, soon: false }
    }

    /// Sleeps at once when `until` has passed.
    fn read_until(&self, until: Instant, buffer: &mut [u8]) -> io::Result<usize> {
        while Instant::now() < until {
            match recv(self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, count)) => return Ok(count),
                Err(Errno::AGAIN) => thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
        (&mut &*self.socket).read(buffer)
    }
}

impl Read for Eager<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        let linger = if self.soon { LINGER } else { Duration::ZERO };
        let count = self.read_until(began + linger, buffer)?;
        self.soon = began.elapsed() < LINGER;
        Ok(count)
    }
}
