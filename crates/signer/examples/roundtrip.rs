//! How long a signature takes through the signer, beside the same keystore in this process.
//!
//! `cargo run --release -p anya-signer --example roundtrip` prints a line for each.
#![allow(clippy::print_stdout, reason = "the figures are the purpose")]

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use anya_enclave::{
    ChannelKey, Dial, EnclaveProvider, EvidencePolicy, ReleaseSecret, SignerKey, UnixTransport, Verifier,
};
use anya_keystore::{KdfCost, SoftwareProvider};
use anya_primitives::{KeyId, Network, SystemClock, TenantId};
use anya_provider::{KeyContext, KeySpec, KeyTemplate, Message, Provider, SignAlgorithm, SignRequest};
use anya_signer::{DataDir, Signer, Simulation, bind};

const ROUNDS: usize = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    // The signer has a runtime of its own, as it has a process of its own.
    let signers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let home = tempfile::TempDir::new()?;
    let own = ChannelKey::ephemeral()?;
    let folder = DataDir::create(&home.path().join("signer"))?;
    let socket = home.path().join("socket");
    let signer = Signer::new(folder.vault(None), Arc::new(Simulation), folder.key().clone(), own.pin());
    let listener = signers.block_on(bind(&socket, 0o600))?;
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    signers.spawn(signer.run(listener, stopped));

    servers.block_on(async {
        let mut policy = EvidencePolicy::new(Network::Regtest);
        policy.allow_simulated = true;
        let secret = ReleaseSecret::random()?;
        let dial = || Dial {
            transport: Box::new(UnixTransport::new(&socket)),
            own: own.clone(),
            signer: SignerKey::Pinned(folder.key().pin()),
            verifier: Verifier::new(policy.clone()),
            secret: secret.clone(),
            clock: Arc::new(SystemClock),
        };
        EnclaveProvider::enrol("signer", &dial()).await?;
        // The signer wipes its root when the connection ends, so that it has to open it again.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = Instant::now();
        let remote = EnclaveProvider::start("signer", dial());
        remote.health(soon()).await;
        println!("{:<28} {:>9.1?}", "connect, attest, unseal", begun.elapsed());
        let keystore = home.path().join("keystore.json");
        let local = SoftwareProvider::init(keystore, "a long passphrase".into(), KdfCost::default()).await?;
        measure("in this process", &local).await?;
        measure("through the signer", &remote).await
    })
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn measure(name: &str, provider: &dyn Provider) -> Result<(), Box<dyn Error>> {
    let mut ctx = KeyContext {
        tenant: TenantId::new(),
        key: KeyId::new(),
        version: 1,
        spec: KeySpec::Secp256k1,
        deadline: soon(),
    };
    let made = provider.generate(&ctx, KeyTemplate::default()).await?;
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let mut digest = [7; 32];
        digest[..8].copy_from_slice(&(round as u64).to_be_bytes());
        let request = SignRequest {
            algorithm: SignAlgorithm::EcdsaSecp256k1,
            path: None,
            message: Message::Digest(digest),
        };
        ctx.deadline = soon();
        let begun = Instant::now();
        provider.sign(&ctx, &made.handle, &request).await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |part: usize| times[(ROUNDS * part / 1000).min(ROUNDS - 1)];
    println!("{name:<28} p50 {:>9.1?}   p99 {:>9.1?}   max {:>9.1?}", at(500), at(990), at(999));
    Ok(())
}
