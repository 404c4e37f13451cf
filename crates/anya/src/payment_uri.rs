//! Payment URIs (BIP21), as they are read off an invoice or given to whoever pays.

use anya_api::intent::Recipient;
use anya_message::uri::PaymentUri;
use anya_primitives::{Amount, Network};

use crate::error::{Error, Result};

/// Whom a URI asks to be paid, and what for in its words.
pub(crate) fn read(text: &str, network: Network) -> Result<(Recipient, Option<String>)> {
    let uri = PaymentUri::parse(text, network)
        .map_err(|error| Error::Invalid(format!("--uri cannot be paid from here: {error}")))?;
    let address = uri.addresses.first().ok_or_else(|| {
        Error::Invalid("--uri names no Bitcoin address: ask for one that can be paid on chain".to_owned())
    })?;
    let amount = uri
        .amount
        .filter(|amount| *amount > Amount::ZERO)
        .ok_or_else(|| Error::Invalid(format!("--uri names no amount: use --to {address}=SATS")))?;
    let words = [uri.label, uri.message].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let memo = (!words.is_empty()).then_some(words);
    Ok((Recipient { address: address.to_string(), amount }, memo))
}

/// The URI that asks for a payment to `address`.
pub(crate) fn ask(
    address: &str,
    network: Network,
    amount: Option<u64>,
    message: Option<String>,
) -> Result<String> {
    let mut uri = PaymentUri::parse(&format!("bitcoin:{address}"), network)
        .map_err(|error| Error::Invalid(format!("the server's address makes no URI: {error}")))?;
    uri.amount = amount.map(Amount::from_sat);
    uri.message = message;
    Ok(uri.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

    #[test]
    fn what_is_asked_for_can_be_read_again() {
        let message = Some("invoice 17 & more".to_owned());
        let uri = ask(ADDRESS, Network::Regtest, Some(150_000), message.clone()).unwrap();
        assert_eq!(uri, format!("bitcoin:{ADDRESS}?amount=0.0015&message=invoice%2017%20%26%20more"));
        let (recipient, memo) = read(&uri, Network::Regtest).unwrap();
        assert_eq!(
            (recipient.address.as_str(), recipient.amount.to_sat(), memo),
            (ADDRESS, 150_000, message)
        );
    }

    #[test]
    fn what_cannot_be_paid_says_why() {
        let why = |uri: &str, network| read(uri, network).unwrap_err().to_string();
        let plain = format!("bitcoin:{ADDRESS}");
        assert!(why(&plain, Network::Regtest).contains(&format!("--to {ADDRESS}=SATS")));
        assert!(why(&format!("{plain}?amount=0"), Network::Regtest).contains("no amount"));
        assert!(why(&format!("{plain}?amount=1"), Network::Mainnet).contains("mainnet"));
        assert!(why(&format!("{plain}?amount=1&req-other=1"), Network::Regtest).contains("req-other"));
        assert!(why("bitcoin:?lightning=lnbc1", Network::Regtest).contains("no Bitcoin address"));
    }
}
