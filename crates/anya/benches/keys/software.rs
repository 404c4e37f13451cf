//! Figures 5 and 8: what the keyring adds to libsecp256k1 on one core, and what verifying each signature costs.
//!
//! Everything runs on one thread's core: the runtime, and the keystore's threads, which inherit its affinity. Bare and
//! through the keyring in turn, in short rounds, so that what else the machine does meets both.

use std::{hint::black_box, sync::Arc, time::Instant};

use anya_keys::{
    Authority, Error, KeySpec, Keyring, MIGRATIONS, Message, NewKey, PublicMaterial, SignAlgorithm,
    SignRequest,
};
use anya_keystore::{KdfCost, SOFTWARE, SoftwareProvider};
use anya_primitives::{KeyId, SystemClock, TenantId};
use anya_provider::{Expected, SignatureBytes, Verifier};
use anya_store::{Ledger, LedgerOptions};
use bitcoin::secp256k1::{Message as Digest, PublicKey, Secp256k1, SecretKey};
use rustix::{
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

use crate::{
    progress::Progress,
    report::{Bound, Pick, Row},
    rig::digest,
};

/// Signatures in one round.
const ROUND: usize = 250;
/// Callers at once, where there are many.
const MANY: usize = 16;

/// Each signature's microseconds, and the processor's share in all of them.
#[derive(Default)]
struct Times {
    wall: Vec<f64>,
    cpu: f64,
}

impl Times {
    fn cpu_each(&self) -> f64 {
        self.cpu / self.wall.len() as f64
    }
}

pub(crate) fn measure(rounds: usize) -> Vec<Row> {
    let thread = std::thread::spawn(move || {
        let mut allowed = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).unwrap();
        allowed.clear();
        allowed.set(first);
        sched_setaffinity(None, &allowed).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(on_this_core(rounds))
    });
    thread.join().unwrap()
}

async fn on_this_core(rounds: usize) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keystore.json");
    let software =
        SoftwareProvider::init(&file, "only for measuring".into(), KdfCost::default()).await.unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = Ledger::open(&path, MIGRATIONS, LedgerOptions::default()).unwrap();
    let keyring = Arc::new(Keyring::new(ledger, vec![Arc::new(software)], Arc::new(SystemClock)));
    let new = NewKey::new("measured", KeySpec::Secp256k1, SOFTWARE);
    let key = keyring.generate(TenantId::SERVER, new, |_, _| Ok::<_, Error>(())).await.unwrap();

    let (mut bare, mut one, mut many, mut verify) =
        (Times::default(), Times::default(), Times::default(), Vec::new());
    let progress = Progress::new("software", rounds);
    for round in 0..rounds {
        progress.tick(round);
        sign_bare(&mut bare, &mut verify);
        alone(&keyring, key.id, &mut one).await;
        together(&keyring, key.id, &mut many).await;
    }
    let PublicMaterial::Secp256k1 { .. } = key.public else { panic!("another sort of key") };
    let (must, aim) = (Bound::AtMost(1.5), Bound::AtMost(1.2));
    let mean = |wall: &[f64]| wall.iter().sum::<f64>() / wall.len() as f64;
    let bare_mean = mean(&bare.wall);
    let (bare_cpu, bare_wall) = (bare.cpu_each(), crate::report::spread(bare.wall).0);
    let beside = "libsecp256k1, sign and verify";
    let n = rounds * ROUND;
    let (one_cpu, many_cpu) = (one.cpu_each(), many.cpu_each());
    let many_wall = mean(&many.wall) / MANY as f64;
    vec![
        Row::of("software ECDSA, 1 core, 1 caller: time", "us", one.wall, Pick::P50)
            .beside(beside, bare_wall)
            .must_ratio(must, aim),
        Row::single("software ECDSA, 1 core, 1 caller: CPU", "us", one_cpu)
            .count(n)
            .beside(beside, bare_cpu)
            .must_ratio(must, aim),
        Row::single("software ECDSA, 1 core, 16 callers: time each", "us", many_wall)
            .count(n)
            .beside("libsecp256k1, sign and verify, mean", bare_mean)
            .must_ratio(must, aim),
        Row::single("software ECDSA, 1 core, 16 callers: CPU", "us", many_cpu)
            .count(n)
            .beside(beside, bare_cpu)
            .must_ratio(must, aim),
        Row::of("verification of a signature before release", "us", verify, Pick::P50)
            .beside(beside, bare_wall),
    ]
}

/// Microseconds of processor that this process has used.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

fn sign_bare(times: &mut Times, verify: &mut Vec<f64>) {
    let secp = Secp256k1::new();
    let secret = SecretKey::from_slice(&[9; 32]).unwrap();
    let point = PublicKey::from_secret_key(&secp, &secret);
    let digests: Vec<_> = (0..ROUND).map(|_| digest()).collect();
    let mut signatures = Vec::with_capacity(ROUND);
    let before = cpu();
    for digest in &digests {
        let began = Instant::now();
        let message = Digest::from_digest(*digest);
        let signature = secp.sign_ecdsa(&message, &secret);
        secp.verify_ecdsa(&message, &signature, &point).unwrap();
        times.wall.push(micros(began));
        signatures.push(SignatureBytes(signature.serialize_compact().to_vec()));
    }
    times.cpu += cpu() - before;
    let verifier = Verifier::new();
    for (digest, signature) in digests.iter().zip(&signatures) {
        let began = Instant::now();
        let expected = Expected::Curve(point);
        let good =
            verifier.check(&expected, SignAlgorithm::EcdsaSecp256k1, Message::Digest(*digest), signature);
        verify.push(micros(began));
        assert!(black_box(good).is_some());
    }
}

async fn alone(keyring: &Keyring, key: KeyId, times: &mut Times) {
    let digests: Vec<_> = (0..ROUND).map(|_| digest()).collect();
    let before = cpu();
    for digest in digests {
        let began = Instant::now();
        sign(keyring, key, digest).await;
        times.wall.push(micros(began));
    }
    times.cpu += cpu() - before;
}

async fn together(keyring: &Arc<Keyring>, key: KeyId, times: &mut Times) {
    let digests: Vec<_> = (0..ROUND).map(|_| digest()).collect();
    let before = cpu();
    let callers: Vec<_> = digests
        .chunks(ROUND.div_ceil(MANY))
        .map(|mine| {
            let (keyring, mine) = (keyring.clone(), mine.to_vec());
            tokio::spawn(async move {
                let mut took = Vec::with_capacity(mine.len());
                for digest in mine {
                    let began = Instant::now();
                    sign(&keyring, key, digest).await;
                    took.push(micros(began));
                }
                took
            })
        })
        .collect();
    for caller in callers {
        times.wall.extend(caller.await.unwrap());
    }
    times.cpu += cpu() - before;
}

async fn sign(keyring: &Keyring, key: KeyId, digest: [u8; 32]) {
    let message = Message::Digest(digest);
    let request = SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path: None, message };
    keyring.sign(TenantId::SERVER, key, Authority::Server, &request).await.unwrap();
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}
