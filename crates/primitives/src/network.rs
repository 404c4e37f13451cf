//! The Bitcoin network that a key, a wallet or an address belongs to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A Bitcoin network, by the name operators use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Real money.
    Mainnet,
    /// Test network, BIP94.
    Testnet4,
    /// Signed test network, BIP325.
    Signet,
    /// A private network of the machine itself.
    Regtest,
}

impl Network {
    /// Every network, in the order of the help texts.
    pub const ALL: [Self; 4] = [Self::Mainnet, Self::Testnet4, Self::Signet, Self::Regtest];

    /// The name in configuration and API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// The name by which Bitcoin Core's `getblockchaininfo` calls it.
    pub fn core_name(self) -> &'static str {
        match self {
            Self::Mainnet => "main",
            other => other.name(),
        }
    }

    /// The BIP44 coin type: 0 on mainnet, 1 on every other network (SLIP-44).
    pub fn coin_type(self) -> u32 {
        u32::from(self != Self::Mainnet)
    }
}

impl From<Network> for bitcoin::Network {
    fn from(network: Network) -> Self {
        match network {
            Network::Mainnet => Self::Bitcoin,
            Network::Testnet4 => Self::Testnet4,
            Network::Signet => Self::Signet,
            Network::Regtest => Self::Regtest,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A network name that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown network: use mainnet, testnet4, signet or regtest")]
pub struct ParseNetworkError;

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|network| network.name() == text).ok_or(ParseNetworkError)
    }
}
