//! A signer process passes the suite, unattested as it is here, also when it is killed and started again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anya_conformance::{Subject, Suite};
use anya_enclave::{
    ChannelKey, Dial, EnclaveProvider, EvidencePolicy, KeyPin, ReleaseSecret, SignerKey, UnixTransport,
    Verifier,
};
use anya_primitives::{Network, SystemClock};
use anya_provider::Provider;
use common::{brisk, run};

/// A signer and the server's side of its channel.
struct Signer {
    home: tempfile::TempDir,
    program: PathBuf,
    pin: KeyPin,
    own: ChannelKey,
    secret: ReleaseSecret,
    child: Mutex<Option<Child>>,
}

impl Signer {
    fn init() -> Self {
        let program = anya_testkit::program(
            "anya-signer",
            "anya-signer",
            &["signer", "enclave", "keystore", "provider"],
        );
        let home = tempfile::tempdir().unwrap();
        let made =
            Command::new(&program).arg("init").arg("--data").arg(home.path().join("data")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let pin = String::from_utf8(made.stdout).unwrap().trim().parse().unwrap();
        let (own, secret) = (ChannelKey::ephemeral().unwrap(), ReleaseSecret::random().unwrap());
        Self { home, program, pin, own, secret, child: Mutex::default() }
    }

    fn start(&self) {
        let socket = self.home.path().join("socket");
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--data").arg(self.home.path().join("data")).arg("--socket").arg(&socket);
        command.args(["--server-key", &self.own.pin().to_string()]).stderr(Stdio::null());
        *self.child.lock().unwrap() = Some(command.spawn().unwrap());
        let begun = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the signer does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn dial(&self) -> Dial {
        let mut policy = EvidencePolicy::new(Network::Regtest);
        policy.allow_simulated = true;
        Dial {
            transport: Box::new(UnixTransport::new(self.home.path().join("socket"))),
            own: self.own.clone(),
            signer: SignerKey::Pinned(self.pin),
            verifier: Verifier::new(policy),
            secret: self.secret.clone(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_signer_process_passes() {
    let signer = Arc::new(Signer::init());
    signer.start();
    EnclaveProvider::enrol("signer", &signer.dial()).await.unwrap();
    let provider = Arc::new(EnclaveProvider::start("signer", signer.dial()));
    let again = signer.clone();
    let subject = Subject::new(provider).within(brisk()).renewing_kek(None).reopened_by(move || {
        let signer = again.clone();
        async move {
            signer.kill();
            signer.start();
            Ok(Arc::new(EnclaveProvider::start("signer", signer.dial())) as Arc<dyn Provider>)
        }
    });
    let report = run(&Suite::new(), subject).await;
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(report.count("not exercised"), 0);
    assert_eq!(report.case("attest/nonce").unwrap().outcome.word(), "passed");
}
