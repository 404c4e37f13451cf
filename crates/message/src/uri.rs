//! Payment URIs: `bitcoin:ADDRESS?amount=…` (BIP21), and what BIP321 adds that is settled: addresses in the query (`bc`,
//! `tb`, `bcrt`), no address before it, names of parameters in either case.

use std::fmt;

use anya_primitives::Network;
use bitcoin::{Address, Amount, address::NetworkUnchecked};

use crate::{
    bounded,
    error::{Error, Result},
};

const SCHEME: &str = "bitcoin:";

/// The most parameters of a URI.
const MAX_PARAMETERS: usize = 64;

/// A request to be paid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaymentUri {
    /// The addresses, any of which will do; the one before the query first. All are of the network that was asked for.
    pub addresses: Vec<Address>,
    /// How much to pay.
    pub amount: Option<Amount>,
    /// Whose address it is, in their words.
    pub label: Option<String>,
    /// What it is for, in their words.
    pub message: Option<String>,
    /// Parameters that are not understood here and need not be, such as `lightning`; names in lower case, values decoded.
    pub others: Vec<(String, String)>,
}

impl PaymentUri {
    /// Asks for a payment to an address.
    pub fn new(address: Address) -> Self {
        Self { addresses: vec![address], ..Self::default() }
    }

    /// Reads a URI.
    ///
    /// # Errors
    /// [`Error::Uri`] for what BIP21 does not allow: another scheme, a broken address or escape, a parameter that stands
    /// there twice, a name without value; [`Error::Amount`] for anything but plain decimal bitcoin with at most eight
    /// decimals; [`Error::Required`] for a `req-` parameter, of which none is understood here; [`Error::WrongNetwork`];
    /// [`Error::TooLong`].
    pub fn parse(text: &str, network: Network) -> Result<Self> {
        bounded("uri", text.len())?;
        if let Some(bad) = text.bytes().find(|byte| !byte.is_ascii_graphic() || *byte == b'#') {
            return Err(Error::Uri(match bad {
                b'#' => "it has a fragment",
                _ => "it has characters that must be escaped",
            }));
        }
        let scheme = text.get(..SCHEME.len()).filter(|start| start.eq_ignore_ascii_case(SCHEME));
        let rest = scheme
            .and_then(|_| text.get(SCHEME.len()..))
            .ok_or(Error::Uri("it does not start with bitcoin:"))?;
        let (address, query) =
            rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
        let mut uri = Self::default();
        if !address.is_empty() {
            uri.addresses.push(on(address, network)?);
        }
        let parameters: Vec<&str> = query.map(|query| query.split('&').collect()).unwrap_or_default();
        if parameters.len() > MAX_PARAMETERS {
            return Err(Error::Uri("it has more than 64 parameters"));
        }
        for parameter in parameters.into_iter().filter(|parameter| !parameter.is_empty()) {
            uri.take(parameter, network)?;
        }
        if uri.addresses.is_empty() && uri.others.is_empty() {
            return Err(Error::Uri("it says nobody to pay"));
        }
        Ok(uri)
    }

    fn take(&mut self, parameter: &str, network: Network) -> Result<()> {
        let (name, value) =
            parameter.split_once('=').map_or((parameter, None), |(name, value)| (name, Some(value)));
        let name = unescape(name)?.to_ascii_lowercase();
        if name.starts_with("req-") {
            return Err(Error::Required(name));
        }
        let value = unescape(value.unwrap_or_default())?;
        let once =
            |there: bool| if there { Err(Error::Uri("a parameter stands there twice")) } else { Ok(()) };
        match name.as_str() {
            "" => return Err(Error::Uri("a parameter has no name")),
            "amount" => {
                once(self.amount.is_some())?;
                self.amount = Some(parse_amount(&value)?);
            }
            "label" => {
                once(self.label.is_some())?;
                self.label = Some(value);
            }
            "message" => {
                once(self.message.is_some())?;
                self.message = Some(value);
            }
            // An address for another network is for whoever is on it.
            "bc" | "tb" | "bcrt" => match on(&value, network) {
                Err(Error::WrongNetwork(_)) => {}
                address => self.addresses.push(address?),
            },
            _ => self.others.push((name, value)),
        }
        Ok(())
    }
}

/// The address, when it is one of the network.
fn on(address: &str, network: Network) -> Result<Address> {
    let address: Address<NetworkUnchecked> =
        address.parse().map_err(|_| Error::Uri("its address is none"))?;
    address.require_network(network.into()).map_err(|_| Error::WrongNetwork(network))
}

/// Bitcoin in decimal notation: digits, and a point with one to eight digits behind it.
fn parse_amount(text: &str) -> Result<Amount> {
    let plain = "write it in bitcoin as digits with a point, such as 0.015";
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || fraction.is_some_and(|fraction| !digits(fraction)) {
        return Err(Error::Amount(plain));
    }
    let fraction = fraction.unwrap_or_default();
    if fraction.len() > 8 {
        return Err(Error::Amount("it has more than eight decimals"));
    }
    let too_much = Error::Amount("it is more than all bitcoin");
    let whole: u64 = whole.parse().map_err(|_| too_much.clone())?;
    let fraction: u64 = format!("{fraction:0<8}").parse().map_err(|_| Error::Amount(plain))?;
    let sat = whole.checked_mul(100_000_000).and_then(|sat| sat.checked_add(fraction)).map(Amount::from_sat);
    sat.filter(|amount| *amount <= Amount::MAX_MONEY).ok_or(too_much)
}

/// Text from its percent-encoding (RFC 3986), which must be UTF-8.
fn unescape(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(Error::Uri("a percent sign is not followed by two hexadecimal digits"));
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| Error::Uri("an escape is out of range"))?);
    }
    String::from_utf8(bytes).map_err(|_| Error::Uri("its escapes are no UTF-8"))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte))
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Bitcoin without zeros at the end.
fn amount(amount: Amount) -> String {
    let sat = amount.to_sat();
    let text = format!("{}.{:08}", sat / 100_000_000, sat % 100_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The URI. The first address stands before the query; the others, which BIP321 puts into it, are written where their
/// kind has a name for it (bech32), and left out where not.
impl fmt::Display for PaymentUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        let mut addresses = self.addresses.iter();
        if let Some(address) = addresses.next() {
            write!(f, "{address}")?;
        }
        let named = addresses.map(ToString::to_string).filter_map(|address| {
            let name =
                ["bcrt", "bc", "tb"].into_iter().find(|name| address.starts_with(&format!("{name}1")))?;
            Some((name.to_owned(), address))
        });
        let known = [
            ("amount".to_owned(), self.amount.map(amount)),
            ("label".to_owned(), self.label.as_deref().map(escape)),
            ("message".to_owned(), self.message.as_deref().map(escape)),
        ];
        let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let others = self.others.iter().map(|(name, value)| (escape(name), escape(value)));
        for (number, (name, value)) in known.chain(named).chain(others).enumerate() {
            write!(f, "{}{name}={value}", if number == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}
