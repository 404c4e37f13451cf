//! What the keyring adds to a signature: `cargo run -p anya-keys --example sign_rate`.
//!
//! Bare libsecp256k1 (sign and verify, which the keyring does too) against the keyring over the software provider and
//! a ledger on disk: one caller, then sixty-four at once; a key of its own, then a key of a BIP32 tree.
#![allow(clippy::print_stdout, reason = "the table is the output")]

use std::{error::Error, sync::Arc, time::Instant};

use anya_keys::{
    Authority, KeyInfo, KeySpec, Keyring, MIGRATIONS, Message, NewKey, SignAlgorithm, SignRequest,
};
use anya_keystore::{KdfCost, SOFTWARE, SoftwareProvider};
use anya_primitives::{SystemClock, TenantId};
use anya_store::{Ledger, LedgerOptions, TenantTx};
use bitcoin::secp256k1::{self, Secp256k1, SecretKey};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: u32 = 2000;
const CALLERS: u32 = 64;

fn request(key: &KeyInfo, round: u32) -> Outcome<SignRequest<'static>> {
    let mut digest = [7; 32];
    digest[..4].copy_from_slice(&round.to_be_bytes());
    let path = match key.spec {
        KeySpec::Bip32Seed => Some("m/84'/1'/0'/0/7".parse()?),
        _ => None,
    };
    Ok(SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path, message: Message::Digest(digest) })
}

fn line(name: &str, mut micros: Vec<f64>, per_second: f64) {
    micros.sort_by(f64::total_cmp);
    let at = |share: usize| micros.get(micros.len() * share / 100).copied().unwrap_or_default();
    println!("{name:<44} p50 {:>8.1} us   p99 {:>8.1} us   {per_second:>8.0} /s", at(50), at(99));
}

fn bare() -> Outcome<()> {
    let secp = Secp256k1::new();
    let key = SecretKey::from_slice(&[9; 32])?;
    let point = key.public_key(&secp);
    let (start, mut micros) = (Instant::now(), Vec::new());
    for round in 0..ROUNDS {
        let before = Instant::now();
        let mut digest = [7; 32];
        digest[..4].copy_from_slice(&round.to_be_bytes());
        let message = secp256k1::Message::from_digest(digest);
        let signature = secp.sign_ecdsa(&message, &key);
        secp.verify_ecdsa(&message, &signature, &point)?;
        micros.push(before.elapsed().as_secs_f64() * 1e6);
    }
    line("bare sign + verify, one thread", micros, f64::from(ROUNDS) / start.elapsed().as_secs_f64());
    Ok(())
}

async fn through_keyring(name: &str, ring: &Arc<Keyring>, tenant: TenantId, key: &KeyInfo) -> Outcome<()> {
    ring.sign(tenant, key.id, Authority::Server, &request(key, 0)?).await?;
    let (start, mut micros) = (Instant::now(), Vec::new());
    for round in 0..ROUNDS {
        let before = Instant::now();
        ring.sign(tenant, key.id, Authority::Server, &request(key, round)?).await?;
        micros.push(before.elapsed().as_secs_f64() * 1e6);
    }
    line(&format!("{name}, one caller"), micros, f64::from(ROUNDS) / start.elapsed().as_secs_f64());

    let start = Instant::now();
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let (ring, key) = (ring.clone(), key.clone());
        callers.push(tokio::spawn(async move {
            let mut micros = Vec::new();
            for round in 0..ROUNDS / CALLERS * 4 {
                let before = Instant::now();
                ring.sign(tenant, key.id, Authority::Server, &request(&key, caller << 16 | round)?).await?;
                micros.push(before.elapsed().as_secs_f64() * 1e6);
            }
            Outcome::Ok(micros)
        }));
    }
    let mut micros = Vec::new();
    for caller in callers {
        micros.extend(caller.await??);
    }
    let rate = f64::from(ROUNDS / CALLERS * 4 * CALLERS) / start.elapsed().as_secs_f64();
    line(&format!("{name}, {CALLERS} callers"), micros, rate);
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("anya-sign-rate-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let before = Instant::now();
    let passphrase = "only for measuring";
    let file = folder.join("keystore.json");
    let software = SoftwareProvider::init(&file, passphrase.into(), KdfCost::default()).await?;
    println!("new keystore, 64 MiB Argon2id: {} ms", before.elapsed().as_millis());
    let ledger = Ledger::open(&folder.join("ledger.db"), MIGRATIONS, LedgerOptions::default())?;
    let ring = Arc::new(Keyring::new(ledger, vec![Arc::new(software)], Arc::new(SystemClock)));
    let tenant = TenantId::SERVER;
    bare()?;
    for spec in [KeySpec::Secp256k1, KeySpec::Bip32Seed] {
        let new = NewKey::new(spec.name(), spec, SOFTWARE);
        let nothing = |_: &TenantTx<'_>, _: &KeyInfo| Ok::<_, anya_keys::Error>(());
        let key = ring.generate(tenant, new, nothing).await?;
        through_keyring(&format!("keyring, {spec}"), &ring, tenant, &key).await?;
    }
    drop(ring);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
