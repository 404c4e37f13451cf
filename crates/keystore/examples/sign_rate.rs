//! What the software provider adds to a signature: `cargo run --release -p anya-keystore --example sign_rate`.
//!
//! Bare libsecp256k1 signing against the provider: latency of one caller, and what a signature costs in processor time
//! with many callers. The work is done in turns of each, and the least that a turn cost is told beside the whole, so
//! that a busy machine can be seen through. Pin it to one core (`taskset -c 0`) to see the cost on one core.
#![allow(clippy::print_stdout, reason = "the table is the output")]

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use anya_keystore::{KdfCost, SoftwareProvider};
use anya_primitives::{KeyId, TenantId};
use anya_provider::{KeyContext, KeySpec, KeyTemplate, Message, Provider, SignAlgorithm, SignRequest};
use bitcoin::secp256k1::{self, Secp256k1, SecretKey};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Signatures of a turn.
const ROUNDS: u32 = 640;
const TURNS: u32 = 40;
const CALLERS: u32 = 64;

fn digest(round: u32) -> [u8; 32] {
    let mut digest = [7; 32];
    digest[..4].copy_from_slice(&round.to_be_bytes());
    digest
}

/// Processor time of this process so far.
fn processor_time() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(usage.tv_sec.unsigned_abs(), u32::try_from(usage.tv_nsec).unwrap_or_default())
}

/// What one way of signing has cost so far.
struct Row {
    name: String,
    count: u32,
    micros: Vec<f64>,
    wall: Duration,
    least: f64,
}

impl Row {
    fn new(name: String) -> Self {
        Self { name, count: 0, micros: Vec::new(), wall: Duration::ZERO, least: f64::INFINITY }
    }

    /// Adds a turn of `count` signatures, whose latencies are `micros`.
    fn add(&mut self, since: (Instant, Duration), count: u32, micros: Vec<f64>) {
        let each = (processor_time() - since.1).as_secs_f64() * 1e6 / f64::from(count);
        self.least = self.least.min(each);
        self.wall += since.0.elapsed();
        self.count += count;
        self.micros.extend(micros);
    }

    fn print(&mut self) {
        self.micros.sort_by(f64::total_cmp);
        let at = |share: usize| self.micros.get(self.micros.len() * share / 100).copied().unwrap_or_default();
        println!(
            "{:<24} p50 {:>8.1} us  p99 {:>8.1} us  {:>7.0} /s  at least {:>6.1} us of processor each",
            self.name,
            at(50),
            at(99),
            f64::from(self.count) / self.wall.as_secs_f64(),
            self.least
        );
    }
}

fn now() -> (Instant, Duration) {
    (Instant::now(), processor_time())
}

fn bare(row: &mut Row) -> Outcome<()> {
    let secp = Secp256k1::new();
    let key = SecretKey::from_slice(&[9; 32])?;
    let (since, mut micros) = (now(), Vec::new());
    for round in 0..ROUNDS {
        let before = Instant::now();
        std::hint::black_box(secp.sign_ecdsa(&secp256k1::Message::from_digest(digest(round)), &key));
        micros.push(before.elapsed().as_secs_f64() * 1e6);
    }
    row.add(since, ROUNDS, micros);
    Ok(())
}

/// A key of the provider's.
#[derive(Clone)]
struct Key {
    provider: Arc<SoftwareProvider>,
    ctx: KeyContext,
    handle: Arc<[u8]>,
}

impl Key {
    async fn new(provider: &Arc<SoftwareProvider>, spec: KeySpec) -> Outcome<Self> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let ctx = KeyContext { tenant: TenantId::new(), key: KeyId::new(), version: 1, spec, deadline };
        let handle = provider.generate(&ctx, KeyTemplate::default()).await?.handle.into();
        Ok(Self { provider: provider.clone(), ctx, handle })
    }

    /// Signs `rounds` times, one after the other.
    async fn sign(self, rounds: u32) -> Outcome<Vec<f64>> {
        let path = match self.ctx.spec {
            KeySpec::Bip32Seed => Some("m/84'/1'/0'/0/7".parse()?),
            _ => None,
        };
        let mut micros = Vec::new();
        for round in 0..rounds {
            let before = Instant::now();
            let (algorithm, message) = (SignAlgorithm::EcdsaSecp256k1, Message::Digest(digest(round)));
            let request = SignRequest { algorithm, path: path.clone(), message };
            let ctx = KeyContext { deadline: before + Duration::from_secs(5), ..self.ctx.clone() };
            self.provider.sign(&ctx, &self.handle, &request).await?;
            micros.push(before.elapsed().as_secs_f64() * 1e6);
        }
        Ok(micros)
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("anya-sign-rate-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("keystore.json");
    let provider = SoftwareProvider::init(&file, "only for measuring".into(), KdfCost::default()).await?;
    let provider = Arc::new(provider);
    let keys =
        [Key::new(&provider, KeySpec::Secp256k1).await?, Key::new(&provider, KeySpec::Bip32Seed).await?];
    let mut bare_row = Row::new("bare libsecp256k1".to_owned());
    let mut rows: Vec<_> = keys
        .iter()
        .map(|key| {
            let row = |who: &str| Row::new(format!("{}, {who}", key.ctx.spec));
            (row("one caller"), row("64 callers"))
        })
        .collect();
    for _ in 0..TURNS {
        bare(&mut bare_row)?;
        for (key, (single, many)) in keys.iter().zip(&mut rows) {
            let since = now();
            single.add(since, ROUNDS, key.clone().sign(ROUNDS).await?);
            let since = now();
            let callers: Vec<_> =
                (0..CALLERS).map(|_| tokio::spawn(key.clone().sign(ROUNDS / CALLERS * 2))).collect();
            let mut micros = Vec::new();
            for caller in callers {
                micros.extend(caller.await??);
            }
            many.add(since, ROUNDS / CALLERS * 2 * CALLERS, micros);
        }
    }
    bare_row.print();
    for (single, many) in &mut rows {
        single.print();
        many.print();
    }
    drop((keys, provider));
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
