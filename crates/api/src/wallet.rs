//! Wallets, addresses, coins and balances on the wire.

use anya_primitives::{Amount, KeyId, Network, OperationId, Timestamp, WalletId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new wallet is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWallet {
    /// A name, unique in the tenant.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// Its script.
    pub script: WalletScript,
}

/// Script kind and signers of a wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum WalletScript {
    /// One key, native SegWit version 0 (BIP84, `wpkh`).
    Wpkh {
        /// The HD key that signs.
        key: KeyId,
        /// BIP44 account number (0 to 2^31 - 1).
        #[serde(default)]
        #[schema(maximum = 2_147_483_647)]
        account: u32,
    },
    /// One key, Taproot key path (BIP86, `tr`).
    Tr {
        /// The HD key that signs.
        key: KeyId,
        /// BIP44 account number (0 to 2^31 - 1).
        #[serde(default)]
        #[schema(maximum = 2_147_483_647)]
        account: u32,
    },
    /// M of N keys, native SegWit version 0 (BIP48 script type 2, `wsh(sortedmulti)`, BIP67 order).
    Multisig {
        /// How many must sign.
        #[schema(minimum = 1, maximum = 20)]
        threshold: u32,
        /// Who may sign (2 to 20).
        #[schema(min_items = 2, max_items = 20)]
        cosigners: Vec<NewCosigner>,
    },
}

/// One signer of a multisig wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCosigner {
    /// A name, unique in the wallet.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// Where the key is.
    pub signer: Signer,
}

/// Where a cosigner's key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Signer {
    /// A key in this server's keyring that signs when an operation executes.
    Active {
        /// The key: `bip32`, or a `secp256k1` key of a device that derives none, which signs for every address.
        key: KeyId,
        /// BIP48 account number of a `bip32` key; another has none.
        #[serde(default)]
        #[schema(maximum = 2_147_483_647)]
        account: u32,
    },
    /// A key in this server's keyring that is kept for recovery and never signs by itself.
    Reserve {
        /// The key: `bip32`, or a `secp256k1` key of a device that derives none, which signs for every address.
        key: KeyId,
        /// BIP48 account number of a `bip32` key; another has none.
        #[serde(default)]
        #[schema(maximum = 2_147_483_647)]
        account: u32,
    },
    /// A key that somebody else holds and signs with through PSBTs.
    Outside {
        /// Extended public key with its origin: `[fingerprint/48h/1h/0h/2h]tpub…` (BIP380).
        #[schema(max_length = 300)]
        xpub: String,
    },
}

/// A wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wallet {
    /// Its id.
    pub id: WalletId,
    /// Its name.
    pub name: String,
    /// Its network.
    pub network: Network,
    /// Script kind and signers.
    pub script: WalletScript,
    /// The public descriptor with both keychains (BIP380, BIP389) and checksum: all that watching needs.
    pub descriptor: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Height of the first block that was searched for its coins.
    pub birthday_height: u32,
}

/// A receive address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// The address.
    pub address: String,
    /// Its index on the receive keychain.
    pub index: u32,
    /// A note, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it was first shown.
    pub created_at: Timestamp,
}

/// Asks for a new receive address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAddress {
    /// A note for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub label: Option<String>,
}

/// What a wallet holds, as of the block the server has followed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Balance {
    /// In blocks, in satoshi.
    #[serde(rename = "confirmed_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub confirmed: Amount,
    /// Unconfirmed change of own transactions, in satoshi.
    #[serde(rename = "trusted_pending_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub trusted_pending: Amount,
    /// Unconfirmed coins from others, in satoshi; not spendable.
    #[serde(rename = "untrusted_pending_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub untrusted_pending: Amount,
    /// Mined coins younger than 100 blocks, in satoshi; not spendable.
    #[serde(rename = "immature_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub immature: Amount,
    /// The part of the coins above that operations in progress hold, in satoshi.
    #[serde(rename = "reserved_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub reserved: Amount,
    /// What a payment could use now, fees included, in satoshi.
    #[serde(rename = "spendable_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub spendable: Amount,
    /// The height up to which blocks were applied.
    pub height: u32,
}

/// An unspent output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coin {
    /// `txid:vout`.
    pub outpoint: String,
    /// Satoshi.
    #[serde(rename = "amount_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub amount: Amount,
    /// The address that holds it.
    pub address: String,
    /// Whether it is change of an own transaction.
    pub change: bool,
    /// Confirmations; 0 while unconfirmed.
    pub confirmations: u32,
    /// The operation that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_by: Option<OperationId>,
}

/// A transaction that touches a wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WalletTransaction {
    /// Transaction id in hexadecimal.
    pub txid: String,
    /// What came in, in satoshi.
    #[serde(rename = "received_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub received: Amount,
    /// What went out, change included, in satoshi.
    #[serde(rename = "sent_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub sent: Amount,
    /// Confirmations; 0 while unconfirmed.
    pub confirmations: u32,
    /// Height of its block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_height: Option<u32>,
}
