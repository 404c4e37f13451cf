//! The device's log, drained: honest, overwritten, and lied about.

use anya_provider::{KeySpec, Provider};
use anya_yubihsm::{Drained, Error, LogFault, LogMark};
use anya_yubihsm_sim::LogEntry;

use crate::{
    Case,
    kit::{Bench, STAYING, ctx, over, run, shell, signs, soon},
};

pub(crate) const CASES: &[Case] = &[
    ("log::it_is_drained_piece_by_piece_and_tells_of_signatures", pieces),
    ("log::lies_are_found_out_and_nothing_is_acknowledged", lies),
    ("log::what_was_overwritten_is_missed", overwritten),
    ("log::a_reset_is_told_from_a_gap", reset),
    ("log::a_full_log_holds_signatures_up_until_it_is_drained", full),
];

const SIGN_ECDSA: u8 = 0x56;

async fn drain(bench: &Bench, after: Option<&LogMark>) -> Result<Drained, LogFault> {
    match bench.provider.drain_log(after, soon()).await {
        Ok(drained) => Ok(drained),
        Err(Error::Log(fault)) => Err(fault),
        Err(error) => panic!("{error}"),
    }
}

fn pieces() {
    run(async {
        let bench = Bench::new(41).await;
        let first = drain(&bench, None).await.unwrap();
        assert_eq!(first.entries[0].number, 1);
        let mark = first.mark().unwrap();

        // Not acknowledged, it comes again; the caller's copy tells what is new.
        let ctx = ctx(KeySpec::Secp256k1);
        let key = bench.provider.generate(&ctx, STAYING).await.unwrap();
        assert!(signs(&bench.provider, &ctx, &key).await);
        let second = drain(&bench, Some(&mark)).await.unwrap();
        assert_eq!(second.entries[0].number, mark.number + 1);
        let evidence = bench.evidence(&ctx, &key).await;
        let object = bench.judge(&evidence, &key.public, &Default::default()).unwrap().object_id;
        let signatures = |drained: &Drained| {
            let entries = drained.entries.iter();
            entries.filter(|entry| (entry.command, entry.target_key) == (SIGN_ECDSA, object)).count()
        };
        // One by which the key proved itself, one that was asked for.
        assert_eq!(signatures(&second), 2);

        let mark = second.mark().unwrap();
        bench.provider.acknowledge_log(&mark, soon()).await.unwrap();
        assert_eq!(bench.device.log()[0].number, mark.number + 1);
        let third = drain(&bench, Some(&mark)).await.unwrap();
        assert_eq!((third.entries[0].number, signatures(&third)), (mark.number + 1, 0));
        bench.device.power_cycle();
        let fourth = drain(&bench, third.mark().as_ref()).await.unwrap();
        assert!(fourth.entries.iter().any(|entry| entry.command == 0), "the start is told");

        // What the device no longer shows frees nothing.
        let kept = bench.device.log().len();
        let stale = bench.provider.acknowledge_log(&mark, soon()).await;
        assert!(matches!(stale, Err(Error::Log(LogFault::Rewritten { .. }))), "{stale:?}");
        assert!(bench.device.log().len() > kept);
    });
}

fn lies() {
    run(async {
        let bench = Bench::new(41).await;
        let mark = drain(&bench, None).await.unwrap().mark().unwrap();
        let ctx = ctx(KeySpec::Secp256k1);
        let key = bench.provider.generate(&ctx, STAYING).await.unwrap();
        assert!(signs(&bench.provider, &ctx, &key).await);

        let at =
            |entries: &[LogEntry]| entries.iter().rposition(|entry| entry.command == SIGN_ECDSA).unwrap();
        // Hide the signature.
        bench.device.lie_about_log(move |entries| {
            let at = at(entries);
            entries.remove(at);
        });
        assert!(matches!(drain(&bench, Some(&mark)).await, Err(LogFault::Gap { .. })));
        // Name another key in it.
        bench.device.lie_about_log(move |entries| {
            let at = at(entries);
            entries[at].target_key ^= 1;
        });
        assert!(matches!(drain(&bench, Some(&mark)).await, Err(LogFault::Forged { .. })));
        // Chain everything anew, and well: the caller's copy ends otherwise.
        bench.device.lie_about_log(|entries| {
            entries.remove(0);
            let mut before = [0; 16];
            for entry in entries.iter_mut() {
                *entry = entry.clone().chained(&before);
                before = entry.digest;
            }
        });
        assert!(matches!(drain(&bench, Some(&mark)).await, Err(LogFault::Rewritten { .. })));
        bench.device.lie_about_log(move |entries| {
            entries.retain(|entry| entry.number > mark.number);
            let mut before = [0; 16];
            for entry in entries.iter_mut() {
                *entry = entry.clone().chained(&before);
                before = entry.digest;
            }
        });
        assert!(matches!(drain(&bench, Some(&mark)).await, Err(LogFault::Forged { .. })));
        // Show nothing new, or nothing at all.
        bench.device.lie_about_log(move |entries| entries.retain(|entry| entry.number <= mark.number));
        assert_eq!(drain(&bench, Some(&mark)).await, Err(LogFault::Withheld));
        bench.device.lie_about_log(Vec::clear);
        assert_eq!(drain(&bench, Some(&mark)).await, Err(LogFault::Withheld));

        bench.device.tell_the_truth();
        assert_eq!(bench.device.log()[0].number, 1, "nothing was acknowledged");
        let honest = drain(&bench, Some(&mark)).await.unwrap();
        assert!(honest.entries.iter().any(|entry| entry.command == SIGN_ECDSA));
    });
}

fn overwritten() {
    run(async {
        let bench = Bench::new(41).await;
        let mark = drain(&bench, None).await.unwrap().mark().unwrap();
        let ctx = ctx(KeySpec::Secp256k1);
        let key = bench.provider.generate(&ctx, STAYING).await.unwrap();
        for _ in 0..70 {
            assert!(signs(&bench.provider, &ctx, &key).await);
        }
        let fault = drain(&bench, Some(&mark)).await;
        assert!(
            matches!(fault, Err(LogFault::Gap { expected, .. }) if expected == mark.number + 1),
            "{fault:?}"
        );
        assert_eq!(drain(&bench, None).await.unwrap().entries.len(), 62);
    });
}

fn reset() {
    run(async {
        let bench = Bench::new(41).await;
        let mark = drain(&bench, None).await.unwrap().mark().unwrap();
        shell(&bench.device, "reset", &[]);
        let fresh = over(&bench.device, &bench.inner, "password", None).await;
        let outcome = fresh.drain_log(Some(&mark), soon()).await;
        assert!(matches!(outcome, Err(Error::Log(LogFault::Reset))), "{outcome:?}");
    });
}

fn full() {
    run(async {
        let bench = Bench::new(41).await;
        let ctx = ctx(KeySpec::Secp256k1);
        let key = bench.provider.generate(&ctx, STAYING).await.unwrap();
        shell(&bench.device, "put-option", &["--opt-name", "force-audit", "--opt-value", "01"]);
        let mut held_up = false;
        for _ in 0..70 {
            held_up |= !signs(&bench.provider, &ctx, &key).await;
        }
        assert!(held_up, "62 entries fill it");
        let drained = drain(&bench, None).await.unwrap();
        assert_eq!(drained.entries.len(), 62);
        assert!(drained.unlogged_authentications > 0, "the session that drains found no room");
        bench.provider.acknowledge_log(&drained.mark().unwrap(), soon()).await.unwrap();
        assert!(signs(&bench.provider, &ctx, &key).await);
        drain(&bench, drained.mark().as_ref()).await.unwrap();
    });
}
