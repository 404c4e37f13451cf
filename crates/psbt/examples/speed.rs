//! What a PSBT of many inputs costs, step by step, beside rust-bitcoin and miniscript on the same bytes.
//!
//! `cargo run --release -p anya-psbt --example speed [INPUTS]`. A benchmark that wants the figures includes this file as a
//! module and calls [`measure`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    dead_code,
    reason = "a program for developers"
)]

#[path = "../tests/support/signer.rs"]
mod signer;

use std::time::{Duration, Instant};

use anya_psbt::{MAX_FEE_RATE, Owned, SighashPolicy, Sighashes, Version, extract, read_bytes};
use bitcoin::{Amount, FeeRate, ScriptBuf, Sequence, TxOut, absolute::LockTime, secp256k1::Secp256k1};
use miniscript::psbt::PsbtExt as _;
use signer::{Coin, Holder, funding, script, spend};

/// One step, ours and the baseline's, where there is one to compare with.
pub struct Step {
    /// The kind of output that is spent.
    pub kind: &'static str,
    /// What is measured.
    pub step: &'static str,
    /// Ours. Taking signatures over includes verifying each.
    pub ours: Duration,
    /// rust-bitcoin's or miniscript's.
    pub baseline: Option<Duration>,
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let value = work();
    (start.elapsed(), value)
}

/// Measures PSBTs that spend `inputs` coins: reading, digests, signing, finalizing and extracting.
pub fn measure(inputs: u32) -> Vec<Step> {
    let holders = [1, 2, 3].map(Holder::new);
    let [a, b, c] = holders.each_ref().map(|holder| holder.key("/<0;1>/*"));
    let mut steps = Vec::new();
    for (kind, descriptor, signers) in [
        ("wpkh", format!("wpkh({a})"), 1),
        ("tr", format!("tr({a})"), 1),
        ("2-of-3 wsh", format!("wsh(sortedmulti(2,{a},{b},{c}))"), 2),
    ] {
        steps.extend(one(kind, &descriptor, &holders[..signers], inputs));
    }
    steps
}

fn one(kind: &'static str, descriptor: &str, holders: &[Holder], inputs: u32) -> Vec<Step> {
    let secp = Secp256k1::new();
    let scripts: Vec<ScriptBuf> = (0..2).map(|index| script(descriptor, 0, index)).collect();
    let coin = |number: u32| {
        let mut previous = funding(&scripts, Amount::from_sat(100_000));
        previous.input[0].previous_output.vout = number;
        let owned = Owned { branch: 0, index: 0 };
        Coin { previous, vout: 0, descriptor, owned, sequence: Sequence::ENABLE_RBF_NO_LOCKTIME }
    };
    let coins: Vec<Coin<'_>> = (0..inputs).map(coin).collect();
    let pay = Amount::from_sat(u64::from(inputs) * 99_000);
    let output = TxOut { value: pay, script_pubkey: ScriptBuf::new_p2wsh(&scripts[1].wscript_hash()) };
    let psbt = spend(&coins, &[output], LockTime::ZERO).to_version(Version::V0).unwrap();
    let bytes = psbt.to_bytes();
    let whole = SighashPolicy::whole;
    let mut steps = Vec::new();
    let mut step = |step, ours, baseline| steps.push(Step { kind, step, ours, baseline });

    let (ours, psbt) = timed(|| read_bytes(&bytes).unwrap());
    let (baseline, mut theirs) = timed(|| bitcoin::Psbt::deserialize(&bytes).unwrap());
    step("read", ours, Some(baseline));

    let (ours, mut bench) = timed(|| {
        let mut bench = Sighashes::new(psbt, whole()).unwrap();
        bench.all().unwrap();
        bench
    });
    step("digests", ours, None);

    let digests = bench.all().unwrap();
    let (signing, signatures) = timed(|| {
        let mut signatures = Vec::new();
        for holder in holders {
            for digest in &digests {
                signatures
                    .extend(holder.signature(bench.psbt(), digest).map(|signature| (*digest, signature)));
            }
        }
        signatures
    });
    let (baseline, ()) = timed(|| {
        for holder in holders {
            theirs.sign(&holder.0, &secp).unwrap();
        }
    });
    step("derive keys and sign", signing, Some(baseline));

    let (ours, ()) = timed(|| {
        for (digest, signature) in &signatures {
            bench.take(digest.input, digest.signer, *signature).unwrap();
        }
    });
    step("verify and take over", ours, None);

    let (ours, finalized) = timed(|| bench.finalize().unwrap());
    assert!(finalized.is_complete());
    let (baseline, ()) = timed(|| theirs.finalize_mut(&secp).unwrap());
    step("finalize", ours, Some(baseline));

    let (ours, extracted) = timed(|| extract(&finalized.psbt, &whole(), MAX_FEE_RATE).unwrap());
    let (baseline, transaction) = timed(|| theirs.extract(&secp).unwrap());
    step("extract", ours, Some(baseline));
    assert_eq!(extracted.transaction.compute_txid(), transaction.compute_txid());
    assert!(extracted.fee_rate < FeeRate::from_sat_per_vb(100).unwrap());
    steps
}

fn main() {
    let inputs = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000);
    println!("{inputs} inputs, milliseconds");
    for step in measure(inputs) {
        let ms = |duration: Duration| format!("{:.1}", duration.as_secs_f64() * 1_000.0);
        let baseline = step.baseline.map_or("-".to_owned(), ms);
        println!("{:<11} {:<21} {:>9} {:>9}", step.kind, step.step, ms(step.ours), baseline);
    }
}
