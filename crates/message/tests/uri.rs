//! BIP21's examples, BIP321's forms, and everything that is not one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use anya_message::{Error, uri::PaymentUri};
use anya_primitives::{Amount, Network};
use proptest::prelude::*;

/// The BIP's own example has a wrong checksum, so that nobody pays to it; this one is in its place.
const ADDRESS: &str = "164P4mbDkPcyvRnFGAZd1ThjxSj7Fbsywz";
const OF_THE_BIP: &str = "175tWpb8K1S7NmH4Zx6rewF9WQrcZv245W";

fn parse(text: &str) -> Result<PaymentUri, Error> {
    PaymentUri::parse(text, Network::Mainnet)
}

fn parse_query(query: &str) -> Result<PaymentUri, Error> {
    parse(&format!("bitcoin:{ADDRESS}?{query}"))
}

#[test]
fn the_examples_of_bip21() {
    // https://github.com/bitcoin/bips/blob/master/bip-0021.mediawiki, "Examples"
    assert_eq!(parse(&format!("bitcoin:{OF_THE_BIP}")), Err(Error::Uri("its address is none")));
    let uri = parse(&format!("bitcoin:{ADDRESS}")).unwrap();
    assert_eq!(uri.addresses[0].to_string(), ADDRESS);
    assert_eq!(parse_query("label=Luke-Jr").unwrap().label.as_deref(), Some("Luke-Jr"));
    let uri = parse_query("amount=20.3&label=Luke-Jr").unwrap();
    assert_eq!(uri.amount, Some(Amount::from_sat(2_030_000_000)));
    let uri = parse_query("amount=50&label=Luke-Jr&message=Donation%20for%20project%20xyz").unwrap();
    assert_eq!(uri.amount, Some(Amount::from_sat(5_000_000_000)));
    assert_eq!(uri.message.as_deref(), Some("Donation for project xyz"));
    let required = parse_query("req-somethingyoudontunderstand=50&req-somethingelseyoudontget=999");
    assert_eq!(required, Err(Error::Required("req-somethingyoudontunderstand".to_owned())));
    let uri = parse_query("somethingyoudontunderstand=50&somethingelseyoudontget=999").unwrap();
    assert_eq!(uri.others.len(), 2);
}

#[test]
fn the_scheme_and_names_may_be_in_upper_case() {
    let segwit = "BC1QUFGY354J3KMVUCH987XE4S40836X3H0LG8F5N2";
    let uri = parse(&format!("BITCOIN:{segwit}?AMOUNT=0.00001&LABEL=Luke-Jr")).unwrap();
    assert_eq!(uri.amount, Some(Amount::from_sat(1_000)));
    assert_eq!(uri.addresses[0].to_string(), segwit.to_lowercase());
    assert!(matches!(parse(&format!("BITCOIN:{segwit}?REQ-x=1")), Err(Error::Required(_))));
}

#[test]
fn addresses_may_stand_in_the_query() {
    let segwit = "bc1qufgy354j3kmvuch987xe4s40836x3h0lg8f5n2";
    assert_eq!(parse(&format!("bitcoin:?bc={segwit}")).unwrap().addresses.len(), 1);
    let both = parse_query(&format!("bc={segwit}&tb=tb1qghfhmd4zh7ncpmxl3qzhmq566jk8ckq4gafnmg")).unwrap();
    assert_eq!(both.addresses.len(), 2, "the other network's is for others");
    assert_eq!(parse(&both.to_string()).unwrap(), both);
    assert_eq!(
        parse("bitcoin:?lightning=lnbc1").unwrap().others,
        [("lightning".to_owned(), "lnbc1".to_owned())]
    );
    for nobody in ["bitcoin:", "bitcoin:?", "bitcoin:?amount=1"] {
        assert!(matches!(parse(nobody), Err(Error::Uri(_))), "{nobody}");
    }
    let other = PaymentUri::parse(&format!("bitcoin:{ADDRESS}"), Network::Regtest);
    assert_eq!(other, Err(Error::WrongNetwork(Network::Regtest)));
}

#[test]
fn amounts_are_plain_decimal_bitcoin() {
    for (text, sat) in [
        ("0", 0),
        ("00.10", 10_000_000),
        ("0.00000001", 1),
        ("50.00", 5_000_000_000),
        ("21000000", 2_100_000_000_000_000),
    ] {
        assert_eq!(
            parse_query(&format!("amount={text}")).unwrap().amount,
            Some(Amount::from_sat(sat)),
            "{text}"
        );
    }
    for text in [
        "",
        ".",
        "1.",
        ".5",
        "50,000.00",
        "1,5",
        "-1",
        "+1",
        "%2B1",
        "1e3",
        "0x1",
        "1.0.0",
        "0.000000001",
        "1%20",
        "1btc",
        "21000000.00000001",
        "99999999999999999999",
        "١",
    ] {
        assert!(parse_query(&format!("amount={text}")).is_err(), "{text}");
    }
}

#[test]
fn what_is_no_uri_is_refused() {
    for text in [
        "",
        "bitcoin",
        ADDRESS,
        "litecoin:164P4mbDkPcyvRnFGAZd1ThjxSj7Fbsywz",
        "bitcoin://164P4mbDkPcyvRnFGAZd1ThjxSj7Fbsywz",
        "bitcoin:164P4mbDkPcyvRnFGAZd1ThjxSj7Fbsywx",
        " bitcoin:164P4mbDkPcyvRnFGAZd1ThjxSj7Fbsywz",
        "bitcoin:164P4mbDkPcyvRnFGAZd1ThjxSj7Fbsywz?label=a b",
        "bitcoin:164P4mbDkPcyvRnFGAZd1ThjxSj7Fbsywz#x",
    ] {
        assert!(matches!(parse(text), Err(Error::Uri(_))), "{text}");
    }
    for query in [
        "amount=1&amount=1",
        "label=a&LABEL=b",
        "message=a&message=b",
        "=1",
        "label=%",
        "label=%4",
        "label=%zz",
        "label=%ff",
        "label=ö",
    ] {
        assert!(parse_query(query).is_err(), "{query}");
    }
    assert!(matches!(parse(&format!("bitcoin:{}", "a".repeat(100_000))), Err(Error::TooLong { .. })));
    assert!(parse_query(&"a=b&".repeat(65)).is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(sat in 0..=2_100_000_000_000_000_u64, label in any::<Option<String>>(), message in any::<Option<String>>(), value in any::<String>()) {
        prop_assume!(label.as_ref().is_none_or(|text| text.len() < 500) && message.as_ref().is_none_or(|text| text.len() < 500));
        let mut uri = parse(&format!("bitcoin:{ADDRESS}")).unwrap();
        uri.amount = Some(Amount::from_sat(sat));
        (uri.label, uri.message) = (label, message);
        uri.others = vec![("memo".to_owned(), value)];
        prop_assert_eq!(parse(&uri.to_string()).unwrap(), uri);
    }

    #[test]
    fn nothing_panics(text in "\\PC*", query in "[a-z=&%0-9.-]*") {
        let _ = parse(&text);
        let _ = parse(&format!("bitcoin:{text}"));
        let _ = parse_query(&query);
    }
}
