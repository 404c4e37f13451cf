//! The process that holds a vendor's module.
//!
//! It is started with a socket as its standard input, is told there which module to load, and gets there one more
//! socket for each session. A session belongs to a thread, which takes calls from the session's socket, does them, and
//! answers: no call changes hands.
//!
//! It ends when standard input does.

mod attest;
mod bip32;
mod create;
mod der;
mod eager;
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
    io::{self, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anya_provider::harden_process;
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{Signal, getpid, kill_process, set_parent_process_death_signal, setpriority_process},
};
use zeroize::Zeroizing;

use crate::wire::{Fault, Greeting, Intake, MOST_SESSIONS, Op, Ready, Reply, frame};
use eager::Eager;
use hall::Hall;
use seat::{Place, Seat};

/// The priority of computing in software, on the scale of `nice`: a third of the server's weight.
const BELOW_THE_SERVER: i32 = 5;
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
    let mut body = Zeroizing::new(Vec::new());
    // A parent that died before the line above leaves the stream at its end.
    if Intake::new().next(&stream, &mut body)?.is_none() {
        return Ok(());
    }
    let greeting: Greeting<'_> = postcard::from_bytes(&body).map_err(io::Error::other)?;
    if greeting.profile.computes_here {
        // Sessions inherit it. The server's own steps are short, and whoever asks for a signature waits for those too.
        // Where a sandbox forbids it, signatures are as good and a little later.
        let _ = setpriority_process(None, BELOW_THE_SERVER);
    }
    let opened = Hall::open(&greeting).and_then(|hall| seats(hall, greeting.sessions));
    drop(body);
    let (hall, seats, ready) = match opened {
        Ok(opened) => opened,
        Err(fault) => {
            let answer: Result<Ready, Fault> = Err(fault);
            return send(&stream, &answer, 4096);
        }
    };
    let answer: Result<Ready, Fault> = Ok(ready);
    send(&stream, &answer, 4096)?;
    let mut threads = Vec::new();
    for (number, (seat, socket)) in seats.into_iter().zip(sockets(&stream)?).enumerate() {
        let thread = thread::Builder::new()
            .name(format!("session-{number}"))
            .stack_size(STACK)
            .spawn(move || attend(&UnixStream::from(socket), &mut seat.sit()))?;
        threads.push(thread);
    }
    wait_for_the_end(&stream);
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

/// The sockets of the sessions, which the parent sends when it has heard that all is well.
fn sockets(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SESSIONS))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut message, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for part in message.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            sockets.extend(fds);
        }
    }
    Ok(sockets)
}

fn send<T: serde::Serialize>(mut stream: &UnixStream, answer: &T, hint: usize) -> io::Result<()> {
    let frame = frame(0, answer, hint).map_err(io::Error::other)?;
    stream.write_all(&frame)
}

/// Does what comes in on a session's socket until that ends.
fn attend(socket: &UnixStream, seat: &mut Seat) {
    let (mut intake, mut body) = (Intake::new(), Zeroizing::new(Vec::new()));
    let mut calls = Eager::new(socket);
    while let Ok(Some(head)) = intake.next(&mut calls, &mut body) {
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
        let sent = send(socket, &answer, hint);
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
fn wait_for_the_end(stream: &UnixStream) {
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    loop {
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => (),
            Err(_) => return,
            Ok(_) if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => return,
            Ok(_) => (),
        }
    }
}
