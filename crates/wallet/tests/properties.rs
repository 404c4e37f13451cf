//! What holds for every payment.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_primitives::{Amount, FeeRate, OperationId};
use anya_wallet::{DraftRequest, Error};
use proptest::prelude::*;
use support::{House, sat, stranger, terms};

fn amounts() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![546u64..5_000, 5_000u64..2_000_000], 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Inputs are outputs and fee; nothing exceeds the balance or the cap; what was agreed is what is signed.
    #[test]
    fn every_satoshi_is_accounted_for(
        coins in amounts(),
        payments in prop::collection::vec((amounts(), 250u64..20_000, 200u64..40_000), 1..6),
        taproot in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut house = House::new().await;
            let wallet = if taproot { house.tr().await } else { house.wpkh().await };
            house.fund(wallet, &coins).await;
            for (amounts, rate, cap) in payments {
                let before = house.balance(wallet).await;
                let recipients: Vec<_> = (1u8..).zip(&amounts).map(|(who, amount)| (stranger(who), sat(*amount))).collect();
                let paid: Amount = recipients.iter().map(|(_, amount)| *amount).sum();
                let request = DraftRequest {
                    operation: OperationId::new(),
                    recipients: recipients.clone(),
                    fee_rate: FeeRate::from_sat_per_kwu(rate),
                    fee_cap: sat(cap), spend_path: None
                };
                let draft = match house.wallets.draft_payment(house.tenant, wallet, request).await {
                    Ok(draft) => draft,
                    Err(Error::InsufficientFunds { needed, available, .. }) => {
                        prop_assert!(needed > available);
                        prop_assert!(available <= before.spendable);
                        continue;
                    }
                    Err(Error::FeeAboveCap { fee, cap: said }) => {
                        prop_assert!(fee > said && said == sat(cap));
                        continue;
                    }
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                };
                let incoming: Amount =
                    draft.psbt.inputs.iter().map(|input| input.witness_utxo.as_ref().unwrap().value).sum();
                let change = draft.change.map_or(Amount::ZERO, |change| change.amount);
                prop_assert_eq!(incoming, paid + change + draft.fee);
                prop_assert!(incoming <= before.spendable);
                prop_assert!(draft.fee <= sat(cap));
                prop_assert!(change == Amount::ZERO || change >= sat(294));
                let after = house.balance(wallet).await;
                prop_assert_eq!(after, before, "drafting changes nothing");

                house.reserve(&draft).await.unwrap();
                let terms = anya_wallet::Terms { fee_cap: sat(cap), ..terms(&draft) };
                let transaction = house.finish(&draft, &terms).await;
                let weight = transaction.weight().to_wu();
                prop_assert!(draft.fee.to_sat() * 1000 >= rate * weight, "the rate is at least what was asked for");
                // Without change, what is left over goes to the fee: what is dust once its output is paid for, or no more
                // than what change costs, its output now and its input (at most 272 weight units) at the rate of quiet
                // times, 10 sat/vB.
                let (output, input) = ((rate * 172).div_ceil(1000), 2_500 * 272 / 1000);
                let slack = 2 + u64::from(draft.change.is_none()) * (output + 330.max(input));
                prop_assert!(draft.fee.to_sat() <= rate * (weight + 12 * transaction.input.len() as u64 + 12) / 1000 + slack);
                house.wallets.note_broadcast(&transaction).await.unwrap();
                house.mine(&[transaction]).await;
                house.release(draft.operation).await;
                let after = house.balance(wallet).await;
                prop_assert_eq!(after.spendable, before.spendable - paid - draft.fee);
            }
            Ok(())
        })?;
    }

    /// Whatever the order of reservations and releases, no coin is held twice and all come back.
    #[test]
    fn reservations_never_overlap(steps in prop::collection::vec((any::<bool>(), 0usize..6, 1_000u64..90_000), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut house = House::new().await;
            let wallet = house.wpkh().await;
            house.fund(wallet, &[40_000; 6]).await;
            let whole = house.balance(wallet).await.spendable;
            let mut live: Vec<anya_wallet::Draft> = Vec::new();
            for (reserve, which, amount) in steps {
                if reserve {
                    if let Ok(draft) = house.draft(wallet, vec![(stranger(1), sat(amount))]).await {
                        for other in &live {
                            prop_assert!(draft.inputs.iter().all(|input| !other.inputs.contains(input)));
                            prop_assert!(draft.change.is_none() || draft.change.map(|c| c.index) != other.change.map(|c| c.index));
                        }
                        house.reserve(&draft).await.unwrap();
                        live.push(draft);
                    }
                } else if which < live.len() {
                    house.release(live.swap_remove(which).operation).await;
                }
                let held: Amount = live.iter().map(|draft| sat(40_000) * draft.inputs.len() as u64).sum();
                let balance = house.balance(wallet).await;
                prop_assert_eq!((balance.reserved, balance.spendable), (held, whole - held));
            }
            Ok(())
        })?;
    }
}
