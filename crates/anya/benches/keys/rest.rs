//! Figures 3 and 4: signatures over the API, from the request on a Unix socket to the signature whose audit entry is
//! durable.

use std::{
    fs::File,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anya_keys::Provider;
use anya_pkcs11::{Pkcs11Provider, WorkerCommand};
use anya_pkcs11_chaos::SoftHsm;
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};

use crate::{
    device,
    house::House,
    progress::Progress,
    report::{Bound, Pick, Row, spread},
    rig::digest,
    timed::Timed,
    wire::Wire,
};

const CLIENTS: usize = 8;
/// Connections with which the most signatures a second are looked for.
const MANY: [usize; 3] = [8, 32, 128];

/// What one request took in milliseconds: in all, and in the device.
#[derive(Clone, Copy)]
struct Took {
    whole: f64,
    device: f64,
}

pub(crate) fn measure(worker: &WorkerCommand, requests: usize, alone: usize) -> Vec<Row> {
    let hsm = SoftHsm::new().unwrap();
    // The provider's tasks live on a runtime of its own, as its device is a machine of its own.
    let devices = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let softhsm = devices.block_on(Pkcs11Provider::open(device::device("softhsm", &hsm, worker))).unwrap();
    let softhsm: Arc<dyn Provider> = Arc::new(softhsm);
    let house = House::new(vec![softhsm.clone()]);
    let (software_path, device_path) = (house.key("software"), house.key("softhsm"));

    let mut rows = Vec::new();
    for (name, path, timed) in
        [("software", &software_path, &house.timed[0]), ("SoftHSM2", &device_path, &house.timed[1])]
    {
        let progress = Progress::new("REST, 8 clients", requests);
        drop(load(&house, path, timed, CLIENTS, requests / 20, &progress));
        let (took, _) = load(&house, path, timed, CLIENTS, requests, &progress);
        let device = spread(took.iter().map(|took| took.device).collect()).1;
        let added = took.iter().map(|took| took.whole - took.device).collect();
        let whole = took.iter().map(|took| took.whole).collect();
        rows.push(
            Row::of(format!("REST sign, 8 clients, {name}: added"), "ms", added, Pick::P99)
                .beside("p99 of the provider's own time", device)
                .must(Bound::Below(5.0), Bound::Below(2.0)),
        );
        rows.push(
            Row::of(format!("REST sign, 8 clients, {name}: whole"), "ms", whole, Pick::P99)
                .beside("p99 of the provider's own time", device)
                .must(Bound::Below(50.0), Bound::None),
        );
    }

    let progress = Progress::new("REST, 1 client", alone);
    let (took, _) = load(&house, &software_path, &house.timed[0], 1, alone, &progress);
    let whole = took.iter().map(|took| took.whole).collect();
    rows.push(
        Row::of("REST sign, 1 client, software", "ms", whole, Pick::P50)
            .beside("libsecp256k1 sign and verify, one fdatasync", bare_durable())
            .must(Bound::Below(0.5), Bound::Below(0.15)),
    );

    let bare = bare_rate();
    for clients in MANY {
        let progress = Progress::new("REST, signatures a second", requests * 3);
        let (took, seconds) = load(&house, &software_path, &house.timed[0], clients, requests * 3, &progress);
        let rate = took.len() as f64 / seconds;
        rows.push(
            Row::single(format!("REST sign, {clients} clients, software"), "1/s", rate)
                .count(took.len())
                .beside("libsecp256k1 sign and verify, two threads", bare)
                .must(Bound::Above(8000.0), Bound::Above(15_000.0)),
        );
    }
    drop(house);
    devices.block_on(softhsm.close());
    rows
}

/// So many requests by so many clients, on one thread beside the server's: what each took, and seconds in all.
fn load(
    house: &House,
    path: &str,
    timed: &Arc<Timed>,
    clients: usize,
    requests: usize,
    progress: &Progress,
) -> (Vec<Took>, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let left = Arc::new(AtomicUsize::new(requests));
    runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        let mut wires = Vec::new();
        for _ in 0..clients {
            wires.push(Wire::connect(&house.socket()).await);
        }
        let began = Instant::now();
        for wire in wires {
            let head = Wire::head(&house.token, path, body(&[0; 32]).len());
            running.spawn(client(wire, head, timed.clone(), left.clone()));
        }
        let mut all = Vec::with_capacity(requests);
        loop {
            tokio::select! {
                joined = running.join_next() => match joined {
                    Some(took) => all.extend(took.unwrap()),
                    None => break,
                },
                () = tokio::time::sleep(Duration::from_millis(500)) => {
                    progress.tick(requests - left.load(Ordering::Relaxed).min(requests));
                }
            }
        }
        (all, began.elapsed().as_secs_f64())
    })
}

async fn client(mut wire: Wire, head: Vec<u8>, timed: Arc<Timed>, left: Arc<AtomicUsize>) -> Vec<Took> {
    let mut all = Vec::new();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let digest = digest();
        let body = body(&digest);
        let began = Instant::now();
        let answer = wire.post(&head, body.as_bytes()).await;
        let whole = began.elapsed();
        assert!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(answer.body));
        let device = timed.take(&digest).expect("it was signed there");
        all.push(Took { whole: whole.as_secs_f64() * 1e3, device: device.as_secs_f64() * 1e3 });
    }
    all
}

fn body(digest: &[u8; 32]) -> String {
    format!("{{\"algorithm\":\"ecdsa-secp256k1\",\"digest\":\"{}\"}}", hex::encode(digest))
}

/// Median milliseconds of signing and verifying without a server, and of making 500 bytes durable.
fn bare_durable() -> f64 {
    let secp = Secp256k1::new();
    let secret = SecretKey::from_slice(&[9; 32]).unwrap();
    let point = secret.public_key(&secp);
    let folder = tempfile::tempdir().unwrap();
    let mut file = File::create(folder.path().join("log")).unwrap();
    let mut took = Vec::new();
    for _ in 0..500 {
        let message = Message::from_digest(digest());
        let began = Instant::now();
        let signature = secp.sign_ecdsa(&message, &secret);
        secp.verify_ecdsa(&message, &signature, &point).unwrap();
        file.write_all(&[7; 500]).unwrap();
        file.sync_data().unwrap();
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    spread(took).0
}

/// How often two threads sign and verify in a second.
fn bare_rate() -> f64 {
    const TIME: Duration = Duration::from_secs(2);
    let thread = || {
        let secp = Secp256k1::new();
        let secret = SecretKey::from_slice(&[9; 32]).unwrap();
        let point = secret.public_key(&secp);
        let (began, mut made) = (Instant::now(), 0_u32);
        let mut bytes = [7; 32];
        while began.elapsed() < TIME {
            bytes[..4].copy_from_slice(&made.to_be_bytes());
            let message = Message::from_digest(bytes);
            let signature = secp.sign_ecdsa(&message, &secret);
            secp.verify_ecdsa(&message, &signature, &point).unwrap();
            made += 1;
        }
        f64::from(made) / began.elapsed().as_secs_f64()
    };
    let threads = [std::thread::spawn(thread), std::thread::spawn(thread)];
    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
}
