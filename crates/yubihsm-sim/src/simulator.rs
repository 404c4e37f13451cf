//! A device and its connector, as a test holds them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    attestation::Identity,
    device::Device,
    http::{Shared, accept, lock},
    log::LogEntry,
};

/// How long commands take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latency {
    /// No longer than the simulation needs.
    #[default]
    None,
    /// Each this much longer.
    Fixed(Duration),
    /// About as long as the device: Ed25519 130 ms (114 and 146 are published), ECDSA over 256 bits 70 ms, RSA-2048
    /// 140 ms, everything else 5 ms.
    Hardware,
}

/// What device to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its serial number.
    pub serial: u32,
    /// How long commands take.
    pub latency: Latency,
    /// After how long without a command a session ends; a device's 30 seconds unless said otherwise.
    pub idle_expiry: Duration,
    /// Where its memory is kept; without a file it ends with the simulator.
    pub state_file: Option<PathBuf>,
    /// The port on the loopback; 0 for any.
    pub port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            serial: 1_234_567,
            latency: Latency::None,
            idle_expiry: Duration::from_secs(30),
            state_file: None,
            port: 0,
        }
    }
}

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its port is taken.
    #[error("cannot listen on port {port} of the loopback: {source}")]
    Listen {
        /// Which port.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// Its memory cannot be read or written.
    #[error("cannot use the state file: {0}")]
    State(io::Error),
}

/// A running device with its connector. It stops when it is dropped.
///
/// A new one has the authentication key 1 with the password `password`.
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl Simulator {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot start: it is the test's own environment that fails then.
    #[expect(clippy::panic, reason = "a test has no use for a simulator that did not start")]
    pub fn start(options: Options) -> Self {
        Self::try_start(options).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts one.
    ///
    /// # Errors
    /// [`StartError`] when the port is taken or the state file is unusable.
    pub fn try_start(options: Options) -> Result<Self, StartError> {
        let device = Device::start(options.serial, options.idle_expiry, options.state_file)
            .map_err(StartError::State)?;
        let listen = |source| StartError::Listen { port: options.port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(Shared::new(device, options.latency));
        let simulator = Self { shared, address, acceptor: Mutex::new(None) };
        simulator.listen(listener);
        Ok(simulator)
    }

    fn listen(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        *lock(&self.acceptor) = Some(thread::spawn(move || accept(&listener, &shared)));
    }

    /// Where the connector listens, as Yubico's programs take it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The connector's port on the loopback.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The certificate, in DER, that this device's attestations lead to: the simulated maker's root.
    pub fn root_certificate(&self) -> Vec<u8> {
        self.identity().root
    }

    /// The certificate, in DER, between root and device. A device does not hold it: its maker publishes it.
    pub fn intermediate_certificate(&self) -> Vec<u8> {
        self.identity().intermediate
    }

    #[expect(clippy::panic, reason = "without random bytes there is nothing to simulate")]
    fn identity(&self) -> Identity {
        match lock(&self.shared.device).identity() {
            Ok(identity) => identity.clone(),
            Err(error) => panic!("the simulated device makes no identity: {error:?}"),
        }
    }

    /// What the device's log holds.
    pub fn log(&self) -> Vec<LogEntry> {
        lock(&self.shared.device).memory.log.entries().to_vec()
    }

    /// How long commands take from now on.
    pub fn set_latency(&self, latency: Latency) {
        lock(&self.shared.faults).latency = latency;
    }

    /// Answers nothing more until [`Simulator::resume`]; requests wait.
    pub fn hang(&self) {
        lock(&self.shared.faults).hung = true;
    }

    /// Answers again, first what has waited.
    pub fn resume(&self) {
        lock(&self.shared.faults).hung = false;
        self.shared.changed.notify_all();
    }

    /// Whether each request ends its connection without an answer.
    pub fn drop_connections(&self, dropping: bool) {
        lock(&self.shared.faults).dropping = dropping;
    }

    /// Whether signatures come out with one bit turned.
    pub fn spoil_signatures(&self, spoil: bool) {
        lock(&self.shared.device).lies.spoil_signatures = spoil;
    }

    /// Has the device name another serial number than its own when it attests.
    pub fn lie_about_serial(&self, serial: u32) {
        lock(&self.shared.device).lies.serial = Some(serial);
    }

    /// Has the device show its log as `lie` leaves it; what it remembers stays as it is.
    pub fn lie_about_log(&self, lie: impl FnMut(&mut Vec<LogEntry>) + Send + 'static) {
        lock(&self.shared.device).lies.log = Some(Box::new(lie));
    }

    /// Ends what [`Simulator::lie_about_log`] and [`Simulator::lie_about_serial`] began.
    pub fn tell_the_truth(&self) {
        let lies = &mut lock(&self.shared.device).lies;
        lies.log = None;
        lies.serial = None;
    }

    /// How many of its sessions are taken.
    pub fn open_sessions(&self) -> usize {
        lock(&self.shared.device).open_sessions()
    }

    /// Ends every session, as idling does.
    pub fn lose_sessions(&self) {
        lock(&self.shared.device).lose_sessions();
    }

    /// Takes the device's power away and gives it back.
    pub fn power_cycle(&self) {
        lock(&self.shared.device).power_cycle();
    }

    /// Stops the connector: its port refuses connections.
    pub fn stop(&self) {
        lock(&self.shared.faults).stopped = true;
        self.shared.changed.notify_all();
        let acceptor = lock(&self.acceptor).take();
        if let Some(acceptor) = acceptor {
            // Its thread waits for a connection; this is one.
            drop(TcpStream::connect(self.address));
            let _ = acceptor.join();
        }
        self.shared.cut();
    }

    /// Starts the connector again, on the same port.
    ///
    /// # Errors
    /// [`StartError::Listen`] when somebody else took the port.
    pub fn restart(&self) -> Result<(), StartError> {
        self.stop();
        let listen = |source| StartError::Listen { port: self.address.port(), source };
        let listener = TcpListener::bind(self.address).map_err(listen)?;
        lock(&self.shared.faults).stopped = false;
        self.listen(listener);
        Ok(())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}
