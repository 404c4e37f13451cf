//! Bitcoin addresses as people write them.

use anya_primitives::{Amount, Network};
use bitcoin::{Address, ScriptBuf, address::NetworkUnchecked};

use crate::Error;

/// Reads an address of `network`.
pub(crate) fn parse(field: &str, text: &str, network: Network) -> Result<Address, Error> {
    let address: Address<NetworkUnchecked> =
        text.parse().map_err(|e| Error::invalid(field, format!("not a Bitcoin address: {e}")))?;
    address.require_network(network.into()).map_err(|_| {
        Error::invalid(field, format!("not an address of {network}; this server runs on {network}"))
    })
}

/// The one spelling of an address that is stored, signed and compared.
pub(crate) fn canonical(field: &str, text: &str, network: Network) -> Result<String, Error> {
    parse(field, text, network).map(|address| address.to_string())
}

/// The script that an address of a stored intent pays to.
pub(crate) fn script(text: &str, network: Network) -> Result<ScriptBuf, Error> {
    parse("address", text, network).map(|address| address.script_pubkey())
}

/// Checks that an output of `amount` to `address` would be relayed and could exist.
pub(crate) fn check_amount(field: &str, address: &Address, amount: Amount) -> Result<(), Error> {
    let dust = address.script_pubkey().minimal_non_dust();
    if amount < dust {
        return Err(Error::invalid(
            field,
            format!("below the dust limit of {} sat for this address", dust.to_sat()),
        ));
    }
    if amount > Amount::MAX_MONEY {
        return Err(Error::invalid(field, "more than 21 million bitcoin"));
    }
    Ok(())
}
