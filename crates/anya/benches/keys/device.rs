//! Figures 6 and 7: what worker and pool add to a PKCS#11 module, and how long a provider needs to its first signature.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anya_keys::{
    Authority, Error, KeySpec, Keyring, MIGRATIONS, Message, NewKey, Provider, SignAlgorithm, SignRequest,
};
use anya_keystore::{KdfCost, SoftwareProvider};
use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, WorkerCommand};
use anya_pkcs11_chaos::SoftHsm;
use anya_primitives::{KeyId, SystemClock, TenantId};
use anya_provider::{Generated, KeyContext, KeyTemplate};
use anya_store::{Ledger, LedgerOptions};

use crate::{
    bare,
    progress::Progress,
    report::{Bound, Pick, Row, spread},
    rig::digest,
};

const CALLERS: [usize; 3] = [1, 2, 8];
const DEADLINE: Duration = Duration::from_secs(10);

/// A device without chaos between.
pub(crate) fn device(name: &str, hsm: &SoftHsm, worker: &WorkerCommand) -> Pkcs11Config {
    let env = hsm.env().into_iter().map(|(name, value)| (name.to_owned(), value.into_string().unwrap()));
    Pkcs11Config { env: env.collect(), ..crate::rig::device(name, hsm, hsm.module().to_owned(), worker) }
}

fn context(spec: KeySpec) -> KeyContext {
    let (tenant, key) = (TenantId::SERVER, KeyId::new());
    KeyContext { tenant, key, version: 1, spec, deadline: Instant::now() + DEADLINE }
}

async fn sign(provider: &dyn Provider, ctx: &KeyContext, key: &Generated) {
    let ctx = KeyContext { deadline: Instant::now() + DEADLINE, ..ctx.clone() };
    let message = Message::Digest(digest());
    let request = SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path: None, message };
    provider.sign(&ctx, &key.handle, &request).await.unwrap();
}

/// Throughput at so many callers, `rounds` times for `time` each: the bare loop, the provider, and the keyring over it in
/// turn.
pub(crate) async fn throughput(worker: &WorkerCommand, rounds: usize, time: Duration) -> Vec<Row> {
    let hsm = SoftHsm::new().unwrap();
    let provider = Arc::new(Pkcs11Provider::open(device("softhsm", &hsm, worker)).await.unwrap());
    let ctx = context(KeySpec::Secp256k1);
    let key = Arc::new(provider.generate(&ctx, KeyTemplate::default()).await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = Ledger::open(&path, MIGRATIONS, LedgerOptions::default()).unwrap();
    let all: Vec<Arc<dyn Provider>> = vec![provider.clone()];
    let keyring = Arc::new(Keyring::new(ledger, all, Arc::new(SystemClock)));
    let new = NewKey::new("measured", KeySpec::Secp256k1, "softhsm");
    let through = keyring.generate(TenantId::SERVER, new, |_, _| Ok::<_, Error>(())).await.unwrap().id;

    let mut rows = Vec::new();
    let progress = Progress::new("device", CALLERS.len() * rounds);
    for (place, callers) in CALLERS.into_iter().enumerate() {
        let (mut bare, mut ours, mut keyrings) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            progress.tick(place * rounds + round);
            let hsm = &hsm;
            bare.push(tokio::task::block_in_place(|| bare::rate(hsm, callers, time)));
            ours.push(
                rate(callers, time, {
                    let (provider, ctx, key) = (provider.clone(), ctx.clone(), key.clone());
                    move || {
                        let (provider, ctx, key) = (provider.clone(), ctx.clone(), key.clone());
                        async move { sign(provider.as_ref(), &ctx, &key).await }
                    }
                })
                .await,
            );
            keyrings.push(
                rate(callers, time, {
                    let keyring = keyring.clone();
                    move || {
                        let keyring = keyring.clone();
                        async move { sign_through(&keyring, through).await }
                    }
                })
                .await,
            );
        }
        let (must, aim) = (Bound::AtLeast(0.9), Bound::AtLeast(1.0));
        let bare = spread(bare).0;
        let beside = "bare cryptoki loop";
        rows.push(
            Row::of(format!("PKCS#11 worker, {callers} callers"), "1/s", ours, Pick::P50)
                .beside(beside, bare)
                .must_ratio(must, aim),
        );
        rows.push(
            Row::of(format!("PKCS#11 keyring and worker, {callers} callers"), "1/s", keyrings, Pick::P50)
                .beside(beside, bare)
                .must_ratio(must, aim)
                .note("each signature verified, which the bare loop leaves out"),
        );
    }
    provider.close().await;
    rows
}

async fn sign_through(keyring: &Keyring, key: KeyId) {
    let message = Message::Digest(digest());
    let request = SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path: None, message };
    keyring.sign(TenantId::SERVER, key, Authority::Server, &request).await.unwrap();
}

/// Calls per second of so many callers, each of which calls again as soon as it is answered, as in the bare loop.
async fn rate<F>(callers: usize, time: Duration, call: impl Fn() -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let call = call.clone();
        running.spawn(async move {
            let (began, mut made) = (Instant::now(), 0_u32);
            while began.elapsed() < time {
                call().await;
                made += 1;
            }
            f64::from(made) / began.elapsed().as_secs_f64()
        });
    }
    running.join_all().await.into_iter().sum()
}

/// From nothing to the first signature, `times` times.
pub(crate) async fn start(worker: &WorkerCommand, times: usize) -> Vec<Row> {
    let hsm = SoftHsm::new().unwrap();
    let ctx = context(KeySpec::Secp256k1);
    let first = Pkcs11Provider::open(device("softhsm", &hsm, worker)).await.unwrap();
    let key = first.generate(&ctx, KeyTemplate::default()).await.unwrap();
    first.close().await;
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    let progress = Progress::new("start", times * 2);
    for round in 0..times {
        progress.tick(round);
        bare.push(tokio::task::block_in_place(|| bare::once(&hsm)));
        let began = Instant::now();
        let provider = Pkcs11Provider::open(device("softhsm", &hsm, worker)).await.unwrap();
        sign(&provider, &ctx, &key).await;
        ours.push(began.elapsed().as_secs_f64() * 1e3);
        provider.close().await;
    }
    let device = Row::of("start to first signature, SoftHSM2", "ms", ours, Pick::P99)
        .beside("bare process: load, log in, sign", spread(bare).1)
        .must(Bound::Below(100.0), Bound::None);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keystore.json");
    let passphrase = || "only for measuring".into();
    let software = SoftwareProvider::init(&file, passphrase(), KdfCost::default()).await.unwrap();
    let ctx = context(KeySpec::Secp256k1);
    let key = software.generate(&ctx, KeyTemplate::default()).await.unwrap();
    software.close().await;
    let (mut kdf, mut ours) = (Vec::new(), Vec::new());
    for round in 0..times {
        progress.tick(times + round);
        kdf.push(tokio::task::block_in_place(argon2id));
        let began = Instant::now();
        let provider = SoftwareProvider::unlock(&file, passphrase()).await.unwrap();
        sign(&provider, &ctx, &key).await;
        ours.push(began.elapsed().as_secs_f64() * 1e3);
        provider.close().await;
    }
    let (whole, kdf) = (spread(ours.clone()).0, spread(kdf).0);
    vec![
        device,
        Row::of("start to first signature, software", "ms", ours, Pick::P50)
            .beside("Argon2id alone, 64 MiB and 3 passes", kdf)
            .note("the passphrase is made slow to guess on purpose"),
        Row::single("start to first signature, software, beyond Argon2id", "ms", whole - kdf)
            .count(times)
            .must(Bound::Below(100.0), Bound::None),
    ]
}

/// Milliseconds of the key derivation that a keystore is opened by.
fn argon2id() -> f64 {
    let params = argon2::Params::new(64 * 1024, 3, 1, Some(32)).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let began = Instant::now();
    argon2.hash_password_into(b"only for measuring", &[7; 16], &mut [0; 32]).unwrap();
    began.elapsed().as_secs_f64() * 1e3
}
