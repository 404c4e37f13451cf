//! A signer whose processor is a test bench: its quotes are minted for the very channel and nonce, under a root that
//! this test alone trusts. What real hardware would show, from the first connection to the refusal.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

#[path = "../../enclave/tests/support/bench.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod bench;
mod support;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anya_enclave::{
    Binding, ChannelKey, Dial, EnclaveProvider, Error as ChannelError, EvidenceKind, EvidencePolicy, KeyPin,
    Measurement, Refusal, SignerKey, Verifier, channel,
    wire::{HANDSHAKE_FRAME, read_frame},
};
use anya_primitives::Network;
use anya_provider::{
    Attestation, Error, Evidence, HexBytes, KeySpec, KeyTemplate, Message, Provider as _, Residence,
    SignAlgorithm, SignRequest,
};
use anya_signer::{Attestor, DataDir, Error as SignerError, Gramine, Signer, Simulation, Tsm, bind};
use bench::{Bench, MR_ENCLAVE, Report};
use support::{PATIENCE, Server, context, ready, simulated, soon};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, sync::watch, task::JoinHandle};

/// How the bench's processor behaves at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conduct {
    Honest,
    Tdx,
    Debug,
    OtherCode,
    /// Shows the first quote that it ever made, again and again.
    Replay,
    Simulates,
    Fails,
}

struct Processor {
    bench: Arc<Bench>,
    conduct: Mutex<Conduct>,
    first: Mutex<Option<Vec<u8>>>,
    asked: AtomicUsize,
}

impl Processor {
    fn conduct(&self, conduct: Conduct) {
        *self.conduct.lock().unwrap() = conduct;
    }
}

impl Attestor for Processor {
    fn attest(&self, binding: &Binding) -> anya_signer::Result<Evidence> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let honest = Report::of(binding.report_data());
        let conduct = *self.conduct.lock().unwrap();
        let quote = match conduct {
            Conduct::Honest | Conduct::Replay => self.bench.sgx(&honest),
            Conduct::Tdx => self.bench.tdx(&honest),
            Conduct::Debug => self.bench.sgx(&Report { debug: true, ..honest }),
            Conduct::OtherCode => self.bench.sgx(&Report { mr_enclave: [0; 32], ..honest }),
            Conduct::Simulates => return Simulation.attest(binding),
            Conduct::Fails => {
                return Err(SignerError::Evidence {
                    path: "/dev/sgx".into(),
                    reason: "no device".to_owned(),
                });
            }
        };
        let first = self.first.lock().unwrap().get_or_insert_with(|| quote.clone()).clone();
        let quote = HexBytes(if conduct == Conduct::Replay { first } else { quote });
        Ok(Evidence::Dcap { quote })
    }

    fn name(&self) -> &'static str {
        "bench"
    }
}

/// A signer in this process, with the bench's processor.
struct House {
    home: TempDir,
    server: Server,
    processor: Arc<Processor>,
    pin: KeyPin,
    running: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl House {
    async fn new() -> Self {
        let home = TempDir::new().unwrap();
        let folder = DataDir::create(&home.path().join("data")).unwrap();
        let processor = Arc::new(Processor {
            bench: Arc::new(Bench::new()),
            conduct: Mutex::new(Conduct::Honest),
            first: Mutex::new(None),
            asked: AtomicUsize::new(0),
        });
        let pin = folder.key().pin();
        drop(folder);
        let mut house = Self { home, server: Server::new(), processor, pin, running: None };
        house.start(None).await;
        house
    }

    async fn start(&mut self, sealing: Option<&[u8]>) {
        let folder = DataDir::open(&self.home.path().join("data")).unwrap();
        let signer = Signer::new(
            folder.vault(sealing),
            Arc::clone(&self.processor) as Arc<dyn Attestor>,
            folder.key().clone(),
            self.server.key.pin(),
        );
        let listener = bind(&self.socket(), 0o600).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(async move {
            signer.run(listener, stopped).await;
            drop(folder);
        });
        self.running = Some((stop, running));
    }

    async fn stop(&mut self) {
        let (stop, running) = self.running.take().unwrap();
        stop.send_replace(true);
        running.await.unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    fn has_root(&self) -> bool {
        self.home.path().join("data/keystore.json").exists()
    }

    fn policy(&self) -> EvidencePolicy {
        let zeros = [0; 48];
        let mut policy = EvidencePolicy::new(Network::Regtest);
        policy.measurements = vec![
            Measurement::Sgx { mr_enclave: MR_ENCLAVE },
            Measurement::Tdx { mr_td: bench::MR_TD, rtmr0: zeros, rtmr1: zeros, rtmr2: zeros, rtmr3: zeros },
        ];
        policy.collateral =
            vec![self.processor.bench.collateral("SGX"), self.processor.bench.collateral("TDX")];
        policy
    }

    fn dial_at(&self, socket: &Path, signer: SignerKey) -> Dial {
        let verifier = Verifier::with_roots(self.policy(), self.processor.bench.roots()).unwrap();
        self.server.dial(socket, signer, verifier)
    }

    fn dial(&self) -> Dial {
        self.dial_at(&self.socket(), SignerKey::ByEvidence)
    }
}

fn ecdsa() -> SignRequest<'static> {
    SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path: None, message: Message::Digest([1; 32]) }
}

#[tokio::test]
async fn an_attested_signer_gets_the_root_and_its_keys_live_in_the_enclave() {
    let house = House::new().await;
    let verified = EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap();
    assert_eq!(verified.kind, EvidenceKind::Sgx);
    let provider = EnclaveProvider::start("enclave", house.dial());
    ready(&provider).await;
    assert_eq!(provider.capabilities().attestation, Attestation::Quote);
    assert_eq!(provider.capabilities().residences, [Residence::Enclave]);
    let detail = provider.health(soon()).await.detail;
    assert!(detail.contains(&format!("attested: MRENCLAVE {}", hex::encode(MR_ENCLAVE))), "{detail}");
    let (verified, channel) = provider.attested().unwrap();
    assert_eq!(
        (channel, verified.until.unwrap().to_string()),
        (house.pin, "2030-01-31T00:00:00.000Z".to_owned())
    );

    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    assert_eq!(made.residence, Residence::Enclave);
    provider.sign(&ctx, &made.handle, &ecdsa()).await.unwrap();
    let evidence = provider.attest(&ctx, &made.handle, &[4; 32]).await.unwrap();
    let subject = Some(anya_enclave::key_subject(&ctx, &made.handle));
    let binding = Binding { channel, nonce: [4; 32], subject };
    let verifier = Verifier::with_roots(house.policy(), house.processor.bench.roots()).unwrap();
    assert!(verifier.verify(&evidence, &binding, "2030-01-15T00:00:00Z".parse().unwrap()).is_ok());
}

#[tokio::test]
async fn a_tdx_domain_is_as_welcome() {
    let house = House::new().await;
    house.processor.conduct(Conduct::Tdx);
    let verified = EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap();
    assert_eq!(verified.kind, EvidenceKind::Tdx);
}

#[tokio::test]
async fn nothing_is_released_to_debug_mode_other_code_or_a_simulation() {
    let house = House::new().await;
    for (conduct, expected) in [
        (Conduct::Debug, "debug mode"),
        (Conduct::OtherCode, "which the policy does not name"),
        (Conduct::Simulates, "simulated"),
        (Conduct::Fails, "no device"),
    ] {
        house.processor.conduct(conduct);
        let error = EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert!(!house.has_root(), "{expected}");
    }
    house.processor.conduct(Conduct::Honest);
    EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap();
}

#[tokio::test]
async fn evidence_of_yesterday_is_refused_today() {
    let house = House::new().await;
    EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap();
    house.processor.conduct(Conduct::Replay);
    let provider = EnclaveProvider::start("enclave", house.dial());
    let detail = provider.health(soon()).await.detail;
    assert!(detail.contains("is replayed"), "{detail}");
}

#[tokio::test]
async fn expired_collateral_is_refused_at_the_next_connection() {
    let house = House::new().await;
    EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap();
    house.server.clock.put("2030-01-31T00:00:01Z");
    let provider = EnclaveProvider::start("enclave", house.dial());
    let health = provider.health(soon()).await;
    assert!(!health.ready && health.detail.contains("valid from"), "{}", health.detail);
    // Newer collateral, which here is the old one at its time, is taken while it runs.
    provider.renew_collateral(vec![]);
    house.server.clock.put("2030-01-15T00:00:00Z");
    let begun = Instant::now();
    while !provider.health(soon()).await.detail.contains("collateral: none for SGX") {
        assert!(begun.elapsed() < PATIENCE, "{}", provider.health(soon()).await.detail);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    provider.renew_collateral(house.policy().collateral);
    ready(&provider).await;
}

/// Somebody between the two, who stole the server's key of the channel and so is believed by the signer. Returns how
/// many messages of the server reached him.
fn intercept(at: &Path, signer: PathBuf, stolen: ChannelKey) -> Arc<AtomicUsize> {
    let heard = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::UnixListener::bind(at).unwrap();
    let count = Arc::clone(&heard);
    tokio::spawn(async move {
        let own = ChannelKey::ephemeral().unwrap();
        while let Ok((near, _)) = listener.accept().await {
            let Ok(mut near) = channel::accept(near, &own, stolen.pin()).await else { continue };
            let far = tokio::net::UnixStream::connect(&signer).await.unwrap();
            let (mut far, _) = channel::connect(Box::new(far), &stolen, None).await.unwrap();
            while let Ok(Some(frame)) = read_frame(&mut near, HANDSHAKE_FRAME).await {
                count.fetch_add(1, Ordering::SeqCst);
                pass(&mut far, frame.id, &frame.body).await;
                let Ok(Some(answer)) = read_frame(&mut far, HANDSHAKE_FRAME).await else { break };
                pass(&mut near, answer.id, &answer.body).await;
            }
        }
    });
    heard
}

async fn pass(to: &mut (impl tokio::io::AsyncWrite + Unpin), id: u64, body: &[u8]) {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(id.to_be_bytes());
    frame.extend(body);
    let _ = to.write_all(&frame).await;
    let _ = to.flush().await;
}

#[tokio::test]
async fn a_man_in_the_middle_hears_the_greeting_and_gets_no_part() {
    let house = House::new().await;
    let middle = house.home.path().join("middle");
    let heard = intercept(&middle, house.socket(), house.server.key.clone());

    // Known by evidence: the evidence is the signer's and true, and names another channel.
    let error =
        EnclaveProvider::enrol("enclave", &house.dial_at(&middle, SignerKey::ByEvidence)).await.unwrap_err();
    assert!(matches!(error, ChannelError::Refused(Refusal::Binding)), "{error}");
    assert_eq!(house.processor.asked.load(Ordering::SeqCst), 1, "the signer did show its evidence");
    assert_eq!(heard.load(Ordering::SeqCst), 1, "no more than the greeting was said");

    // Known by its key: not even the greeting.
    let pinned = house.dial_at(&middle, SignerKey::Pinned(house.pin));
    let error = EnclaveProvider::enrol("enclave", &pinned).await.unwrap_err();
    assert!(matches!(error, ChannelError::Handshake(_)), "{error}");
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    assert!(!house.has_root());

    // A simulation names a channel as well.
    house.processor.conduct(Conduct::Simulates);
    let dial = house.server.dial(&middle, SignerKey::ByEvidence, Verifier::new(simulated()));
    let error = EnclaveProvider::enrol("enclave", &dial).await.unwrap_err();
    assert!(matches!(error, ChannelError::Refused(Refusal::Binding)), "{error}");
    EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap_err();
    house.processor.conduct(Conduct::Honest);
    EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap();
}

#[tokio::test]
async fn a_root_of_an_enclave_never_opens_for_a_plain_process_whatever_the_policy_says() {
    let mut house = House::new().await;
    EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap();
    house.processor.conduct(Conduct::Simulates);
    let lenient =
        house.server.dial(&house.socket(), SignerKey::Pinned(house.pin), Verifier::new(simulated()));
    let provider = EnclaveProvider::start("enclave", lenient);
    let detail = provider.health(soon()).await.detail;
    assert!(detail.contains("a policy of another strength"), "{detail}");
    drop(provider);

    house.processor.conduct(Conduct::Honest);
    house.stop().await;
    house.start(None).await;
    let provider = EnclaveProvider::start("enclave", house.dial());
    ready(&provider).await;
}

#[tokio::test]
async fn a_root_under_a_sealing_key_opens_with_that_key_alone() {
    let mut house = House::new().await;
    house.stop().await;
    house.start(Some(&[7; 16])).await;
    EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap();
    for (sealing, opens) in [(None, false), (Some([8; 16]), false), (Some([7; 16]), true)] {
        house.stop().await;
        house.start(sealing.as_ref().map(|key| key.as_slice())).await;
        let provider = EnclaveProvider::start("enclave", house.dial());
        assert_eq!(provider.health(soon()).await.ready, opens, "{sealing:?}");
    }
}

#[tokio::test]
async fn a_signer_that_cannot_prove_itself_any_more_is_asked_no_more() {
    let house = House::new().await;
    EnclaveProvider::enrol("enclave", &house.dial()).await.unwrap();
    let provider = EnclaveProvider::start_renewing("enclave", house.dial(), Duration::from_millis(200));
    ready(&provider).await;
    let ctx = context(KeySpec::Secp256k1);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    // It is renewed while signing goes on.
    let begun = Instant::now();
    let shown = house.processor.asked.load(Ordering::SeqCst);
    while house.processor.asked.load(Ordering::SeqCst) < shown + 3 {
        provider.sign(&ctx, &made.handle, &ecdsa()).await.unwrap();
        assert!(begun.elapsed() < PATIENCE, "it is never renewed");
    }
    house.processor.conduct(Conduct::Debug);
    let refused = loop {
        match provider.sign(&ctx, &made.handle, &ecdsa()).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => break error,
        }
        assert!(begun.elapsed() < PATIENCE, "it is asked on");
    };
    assert!(
        matches!(&refused, Error::Unavailable { reason, .. } if reason.contains("debug mode")),
        "{refused}"
    );
    house.processor.conduct(Conduct::Honest);
    ready(&provider).await;
    provider.sign(&ctx, &made.handle, &ecdsa()).await.unwrap();
}

#[test]
fn gramine_is_asked_through_its_files() {
    let folder = TempDir::new().unwrap();
    let put = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    assert!(matches!(Gramine::new(folder.path()), Err(SignerError::Evidence { .. })));
    put("attestation_type", b"none");
    assert!(Gramine::new(folder.path()).err().unwrap().to_string().contains("not DCAP"));
    put("attestation_type", b"dcap\n");
    let gramine = Gramine::new(folder.path()).unwrap();
    let binding = Binding { channel: KeyPin([1; 32]), nonce: [2; 32], subject: None };
    assert!(matches!(gramine.attest(&binding), Err(SignerError::Evidence { .. })), "there is no quote");
    put("quote", b"a quote");
    let evidence = gramine.attest(&binding).unwrap();
    assert_eq!(evidence, Evidence::Dcap { quote: HexBytes(b"a quote".to_vec()) });
    let asked = std::fs::read(folder.path().join("user_report_data")).unwrap();
    assert_eq!(asked, binding.report_data());
}

#[test]
fn a_kernel_that_gives_no_quote_is_an_error() {
    let folder = TempDir::new().unwrap();
    assert!(Tsm::new(folder.path().join("absent")).is_err());
    let tsm = Tsm::new(folder.path()).unwrap();
    let binding = Binding { channel: KeyPin([1; 32]), nonce: [2; 32], subject: None };
    assert!(matches!(tsm.attest(&binding), Err(SignerError::Evidence { .. })));
}
