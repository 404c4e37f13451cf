//! The process that holds a vendor's module.
//!
//! It is started with a socket as its standard input, is told there which module to load, and then does what it is
//! asked, one call in each session at a time. Sessions belong to threads. The thread that waits at the socket takes
//! the next call and does it itself, while another takes its place at the socket: no call changes hands.
//!
//! It ends when the socket does.

mod attest;
mod bip32;
mod create;
mod der;
mod hall;
mod inventory;
mod kek;
mod make;
mod objects;
mod phrase;
mod seal;
mod seat;
mod seed;
mod sign;
mod transfer;
mod trouble;
mod wrapped;

use std::{
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anya_provider::harden_process;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, getpid, kill_process, set_parent_process_death_signal},
};
use zeroize::Zeroizing;

use crate::wire::{Fault, Greeting, Intake, Op, Ready, Reply, frame};
use hall::Hall;
use seat::{Place, Seat};

/// How long calls under way may take to end when the parent is gone.
const FAREWELL: Duration = Duration::from_millis(500);
/// Room for the stack of a thread that derives keys, and for what a vendor's module needs.
const STACK: usize = 4 << 20;

/// Runs a worker on standard input until the other end closes it.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "pkcs11 worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    harden_process().map_err(io::Error::other)?;
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    if stream.peer_addr().is_err() {
        return Err(io::Error::other("standard input is no socket: this command is run by the server only"));
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let desk = Arc::new(Desk { stream, intake: Mutex::new(Intake::new()), out: Mutex::new(()) });
    let mut body = Zeroizing::new(Vec::new());
    // A parent that died before the line above leaves the stream at its end.
    if locked(&desk.intake).next(&desk.stream, &mut body)?.is_none() {
        return Ok(());
    }
    let greeting: Greeting<'_> = postcard::from_bytes(&body).map_err(io::Error::other)?;
    let opened = Hall::open(&greeting).and_then(|hall| seats(hall, greeting.sessions));
    drop(body);
    let (hall, seats, ready) = match opened {
        Ok(opened) => opened,
        Err(fault) => {
            let answer: Result<Ready, Fault> = Err(fault);
            return desk.send(0, &answer, 4096);
        }
    };
    let answer: Result<Ready, Fault> = Ok(ready);
    desk.send(0, &answer, 4096)?;
    let mut threads = Vec::new();
    for (number, seat) in seats.into_iter().enumerate() {
        let desk = desk.clone();
        let thread = thread::Builder::new()
            .name(format!("session-{number}"))
            .stack_size(STACK)
            .spawn(move || desk.attend(&mut seat.sit()))?;
        threads.push(thread);
    }
    desk.wait_for_the_end();
    let end = Instant::now() + FAREWELL;
    while threads.iter().any(|thread| !thread.is_finished()) {
        if Instant::now() > end {
            // A thread that hangs inside the module would hold an orderly end up, or crash in it.
            let _ = kill_process(getpid(), Signal::KILL);
        }
        thread::sleep(Duration::from_millis(1));
    }
    threads.into_iter().for_each(|thread: JoinHandle<()>| drop(thread.join()));
    hall.leave();
    Ok(())
}

type Opened = (Arc<Hall>, Vec<Place>, Ready);

/// The hall with its seats, when the first of them is logged in.
fn seats(hall: Hall, sessions: u16) -> Result<Opened, Fault> {
    let hall = Arc::new(hall);
    let mut first = Place::new(&hall).sit_down();
    let token = first.try_out()?;
    let ready = Ready { plan: hall.plan(), token };
    let mut places = vec![first.stand_up()];
    places.extend((1..sessions).map(|_| Place::new(&hall)));
    Ok((hall, places, ready))
}

/// Where calls come in and answers go out.
struct Desk {
    stream: UnixStream,
    intake: Mutex<Intake>,
    out: Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    fn send<T: serde::Serialize>(&self, id: u64, answer: &T, hint: usize) -> io::Result<()> {
        let frame = frame(id, 0, answer, hint).map_err(io::Error::other)?;
        let _turn = locked(&self.out);
        (&self.stream).write_all(&frame)
    }

    fn attend(&self, seat: &mut Seat) {
        let mut body = Zeroizing::new(Vec::new());
        loop {
            let head = locked(&self.intake).next(&self.stream, &mut body);
            let Ok(Some(head)) = head else { break };
            let mut answer = match postcard::from_bytes::<Op<'_>>(&body) {
                Ok(op) => catch_unwind(AssertUnwindSafe(|| seat.serve(&op, head.deadline)))
                    .unwrap_or_else(|_| Err(seat.disturbed())),
                Err(_) => Err(Fault::Internal),
            };
            let hint = 256
                + match &answer {
                    Ok(Reply::Bytes(bytes)) => bytes.len(),
                    Ok(Reply::Key(made)) => made.handle.len() + made.public.len(),
                    Ok(Reply::Held(held)) => held.len() * 96,
                    _ => 1024,
                };
            let sent = self.send(head.id, &answer, hint);
            if let Ok(reply) = &mut answer {
                reply.wipe();
            }
            if sent.is_err() {
                break;
            }
        }
        seat.leave();
    }

    /// Returns when the parent has closed its end, even while every thread is in the module.
    fn wait_for_the_end(&self) {
        let mut fds = [PollFd::new(&self.stream, PollFlags::empty())];
        loop {
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => (),
                Err(_) => return,
                Ok(_) if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => return,
                Ok(_) => (),
            }
        }
    }
}
