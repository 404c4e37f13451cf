//! The connector: as much of HTTP/1.1 as its two paths need, a thread for each connection.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{codes::command, device::Device, simulator::Latency};

/// Connections beyond these are closed at once.
const MAX_CONNECTIONS: usize = 128;
const MAX_HEAD: u64 = 16 * 1024;
const MAX_BODY: usize = 8 * 1024;

/// What the device's surroundings do to it.
pub(crate) struct Faults {
    /// No request is answered until this ends.
    pub(crate) hung: bool,
    /// Each request ends its connection without an answer.
    pub(crate) dropping: bool,
    /// The connector is switched off.
    pub(crate) stopped: bool,
    pub(crate) latency: Latency,
}

/// What the connector's threads share.
pub(crate) struct Shared {
    pub(crate) device: Mutex<Device>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) changed: Condvar,
    connections: Mutex<HashMap<SocketAddr, TcpStream>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(device: Device, latency: Latency) -> Self {
        Self {
            device: Mutex::new(device),
            faults: Mutex::new(Faults { hung: false, dropping: false, stopped: false, latency }),
            changed: Condvar::new(),
            connections: Mutex::default(),
        }
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        for (_, stream) in lock(&self.connections).drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits while the device hangs. Whether the request may be answered then, and how long that takes.
    fn admitted(&self) -> Option<Latency> {
        let faults = lock(&self.faults);
        let faults = self.changed.wait_while(faults, |faults| faults.hung && !faults.stopped);
        let faults = faults.unwrap_or_else(PoisonError::into_inner);
        (!faults.stopped && !faults.dropping).then_some(faults.latency)
    }
}

/// Accepts connections until the connector is stopped.
pub(crate) fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if lock(&shared.faults).stopped {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (Ok(peer), Ok(handle)) = (stream.peer_addr(), stream.try_clone()) else { continue };
        {
            let mut connections = lock(&shared.connections);
            if connections.len() >= MAX_CONNECTIONS {
                continue;
            }
            connections.insert(peer, handle);
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A connection that breaks is the client's business.
            let _ = serve(&stream, &shared);
            lock(&shared.connections).remove(&peer);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let port = stream.local_addr()?.port();
    let mut input = BufReader::new(stream);
    let mut output = stream;
    while let Some(request) = read_request(&mut input)? {
        let (status, kind, body) = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/connector/status") => match shared.admitted() {
                Some(_) => ("200 OK", "text/plain", status_text(port)),
                None => return Ok(()),
            },
            ("POST", "/connector/api") => match shared.admitted() {
                Some(latency) => {
                    ("200 OK", "application/octet-stream", answer(shared, latency, &request.body))
                }
                None => return Ok(()),
            },
            (_, "/connector/status" | "/connector/api") => {
                ("405 Method Not Allowed", "text/plain", Vec::new())
            }
            _ => ("404 Not Found", "text/plain", Vec::new()),
        };
        let connection = if request.last { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        );
        output.write_all(&[head.as_bytes(), &body].concat())?;
        if request.last {
            return Ok(());
        }
    }
    Ok(())
}

/// One message at a time, as a device works; the time it takes is spent while others wait.
fn answer(shared: &Shared, latency: Latency, message: &[u8]) -> Vec<u8> {
    let mut device = lock(&shared.device);
    let answer = device.answer(message);
    let takes = latency.of(device.last_command);
    if !takes.is_zero() {
        thread::sleep(takes);
    }
    answer
}

/// The connector's own words: a name and a value to each line.
fn status_text(port: u16) -> Vec<u8> {
    format!(
        "status=OK\nserial=*\nversion=3.0.5\npid={}\naddress=127.0.0.1\nport={port}\n",
        std::process::id()
    )
    .into_bytes()
}

struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
    last: bool,
}

/// The next request, or nothing when the client has closed.
fn read_request(input: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = input.by_ref().take(MAX_HEAD);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().ok_or_else(|| malformed("a request without a path"))?.to_owned();
    let mut last = line.trim_end().ends_with("HTTP/1.0");
    let mut length = 0;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Err(malformed("headers without an end"));
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim_end().is_empty() {
                break;
            }
            return Err(malformed("a header without a colon"));
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                length = value.parse().map_err(|_| malformed("content-length is no number"))?
            }
            "connection" => last |= value.eq_ignore_ascii_case("close"),
            "transfer-encoding" => return Err(malformed("bodies in pieces are not spoken here")),
            _ => {}
        }
    }
    if length > MAX_BODY {
        return Err(malformed("a body too long"));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Some(Request { method, path, body, last }))
}

impl Latency {
    /// How long a device takes for a command.
    fn of(self, code: u8) -> std::time::Duration {
        use std::time::Duration;
        match self {
            Self::None => Duration::ZERO,
            Self::Fixed(time) => time,
            Self::Hardware => Duration::from_millis(match code {
                command::SIGN_EDDSA => 130,
                command::SIGN_ECDSA | command::DERIVE_ECDH => 70,
                command::GENERATE_ASYMMETRIC_KEY => 150,
                command::SIGN_PKCS1 | command::SIGN_PSS | command::SIGN_ATTESTATION => 140,
                _ => 5,
            }),
        }
    }
}
