//! What goes into a column comes out of it, and what does not fit is refused.

mod common;

use anya_primitives::{
    Actor, Amount, ApiKeyId, KeyId, Network, OperationId, OperatorId, TenantId, Timestamp, WalletId,
};
use anya_store::{Error, FromValue, Ledger, Value, json, params};
use common::Place;
use proptest::prelude::*;

async fn through<T: FromValue + Send + 'static>(
    ledger: &Ledger,
    value: impl Into<Value>,
) -> Result<T, Error> {
    let values = params! { "v" => value.into() };
    let found = ledger
        .read_system(move |tx| tx.query_opt("SELECT :v AS v", &values, |row| row.get::<T>("v")))
        .await?;
    found.ok_or(Error::Closed)
}

#[tokio::test]
async fn every_type_comes_back_as_it_went() {
    let place = Place::new();
    let ledger = place.open();
    macro_rules! check {
        ($($value:expr => $kind:ty),* $(,)?) => {$(
            let value: $kind = $value;
            assert_eq!(through::<$kind>(&ledger, value.clone()).await.unwrap(), value);
        )*};
    }
    check! {
        i64::MIN => i64,
        u32::MAX => u32,
        true => bool,
        "naïve ☃ \0 text".to_owned() => String,
        vec![0, 255, 0] => Vec<u8>,
        [7; 32] => [u8; 32],
        None => Option<String>,
        Some("x".to_owned()) => Option<String>,
        Timestamp::from_millis(-1).unwrap() => Timestamp,
        Amount::MAX_MONEY => Amount,
        TenantId::new() => TenantId,
        OperatorId::new() => OperatorId,
        ApiKeyId::new() => ApiKeyId,
        KeyId::new() => KeyId,
        WalletId::new() => WalletId,
        OperationId::new() => OperationId,
        Actor::System => Actor,
        Actor::Operator(OperatorId::new()) => Actor,
        Network::Regtest => Network,
    }
    let largest = u64::try_from(i64::MAX).unwrap();
    assert_eq!(through::<u64>(&ledger, Value::try_from(largest).unwrap()).await.unwrap(), largest);
    assert!(matches!(Value::try_from(largest + 1), Err(Error::Value { .. })));
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let place = Place::new();
    let ledger = place.open();
    macro_rules! refuse {
        ($($value:expr => $kind:ty),* $(,)?) => {$(
            let found = through::<$kind>(&ledger, $value).await;
            assert!(matches!(found, Err(Error::Column { .. })), stringify!($value => $kind));
        )*};
    }
    refuse! {
        -1 => u64,
        i64::from(u32::MAX) + 1 => u32,
        2 => bool,
        1 => String,
        "1" => i64,
        Value::Null => i64,
        "text" => Vec<u8>,
        [1, 2] => [u8; 3],
        -1 => Amount,
        21_000_000 * 100_000_000_i64 + 1 => Amount,
        i64::MAX => Timestamp,
        "op_00" => OperationId,
        TenantId::new() => OperationId,
        "nobody" => Actor,
    }
    let real = ledger.read_system(|tx| tx.query("SELECT 1.5 AS v", &[], |row| row.get::<i64>("v"))).await;
    assert!(matches!(real, Err(Error::Column { .. })));
    let missing = ledger.read_system(|tx| tx.query("SELECT 1 AS v", &[], |row| row.get::<i64>("w"))).await;
    assert!(matches!(missing, Err(Error::Column { .. })));
}

#[tokio::test]
async fn bad_json_is_refused_without_quoting_it() {
    let place = Place::new();
    let ledger = place.open();
    let stored = json(&vec!["hunter2"]).unwrap_or_else(|error| panic!("{error}"));
    let values = params! { "v" => stored };
    let read = ledger
        .read_system(move |tx| tx.query_opt("SELECT :v AS v", &values, |row| row.json::<Vec<i64>>("v")))
        .await;
    let error: Error = read.unwrap_err();
    assert!(matches!(error, Error::Column { .. }));
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

proptest! {
    #[test]
    fn amounts_and_times_fit_an_integer(sat in 0u64..=2_100_000_000_000_000, millis in -1_000_000_000_000i64..4_000_000_000_000) {
        let amount = Amount::from_sat(sat);
        prop_assert_eq!(Amount::from_value(Value::from(amount)), Ok(amount));
        let at = Timestamp::from_millis(millis).unwrap();
        prop_assert_eq!(Timestamp::from_value(Value::from(at)), Ok(at));
    }
}
