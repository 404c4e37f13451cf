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
    /// One key, SegWit nested in P2SH (BIP49, `sh(wpkh)`). A wallet that was made so is shown as a `descriptor`.
    ShWpkh {
        /// The HD key that signs.
        key: KeyId,
        /// BIP44 account number (0 to 2^31 - 1).
        #[serde(default)]
        #[schema(maximum = 2_147_483_647)]
        account: u32,
    },
    /// Any rule, as its descriptor says it: `wpkh`, `sh(wpkh)`, `wsh`, `sh(wsh)` and `tr` with or without a tree, miniscript
    /// with locks by blocks, both keychains in one (`<0;1>`, BIP389).
    Descriptor {
        /// The descriptor (BIP380), with or without its checksum.
        #[schema(max_length = 49_154)]
        descriptor: String,
        /// Who holds its keys. Accounts do not matter here: the descriptor says where a key lies. Keys that are not named are
        /// looked for in the keyring, where they sign when an operation executes; whatever it does not derive is held outside.
        #[serde(default)]
        #[schema(max_items = 100)]
        signers: Vec<NewCosigner>,
    },
    /// A rule in words. A wallet that was made so is shown as a `descriptor`.
    Policy {
        /// How outputs are locked.
        lock: WalletLock,
        /// Ways to spend, set apart by `; or `: `2 of 3 of ada, bob, cy; or after 4032 blocks bob alone`. Each is `NAME alone`,
        /// `A and B`, `any of A, B` or `K of N of A, B, C`, and may begin with `after N blocks`.
        #[schema(max_length = 10_000)]
        policy: String,
        /// Whose names stand in it.
        #[schema(min_items = 1, max_items = 100)]
        cosigners: Vec<NewCosigner>,
    },
    /// Some sign at any time, others once a coin has rested: recovery or inheritance. Shown as a `descriptor`.
    Recovery {
        /// How outputs are locked.
        lock: WalletLock,
        /// Who signs at any time.
        signers: WalletQuorum,
        /// Who signs once a coin has rested.
        recovery: WalletQuorum,
        /// For how many blocks a coin must have rested (BIP68).
        #[schema(minimum = 1, maximum = 65_535)]
        after_blocks: u16,
        /// Whose names stand in it.
        #[schema(min_items = 1, max_items = 100)]
        cosigners: Vec<NewCosigner>,
    },
    /// M of N, and one fewer at each step that a coin has rested. Shown as a `descriptor`.
    Decaying {
        /// How outputs are locked.
        lock: WalletLock,
        /// How many must sign at first.
        #[schema(minimum = 2, maximum = 20)]
        threshold: u32,
        /// After how many blocks each step comes (BIP68), rising; fewer steps than the threshold.
        #[schema(min_items = 1, max_items = 19)]
        steps: Vec<u16>,
        /// Who may sign.
        #[schema(min_items = 2, max_items = 20)]
        cosigners: Vec<NewCosigner>,
    },
    /// What another wallet's file says: Bitcoin Core, Sparrow, Specter, Caravan, Electrum, Coldcard, BIP388, BIP129, or plain
    /// descriptors, told apart by what is in it. Shown as a `descriptor`.
    File {
        /// What the file holds, as text.
        #[schema(max_length = 1_048_576)]
        file: String,
        /// Which of its wallets, counted from 0, where it holds several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        which: Option<u32>,
        /// As of `descriptor`.
        #[serde(default)]
        #[schema(max_items = 100)]
        signers: Vec<NewCosigner>,
    },
}

/// How a wallet of several keys locks its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WalletLock {
    /// Native SegWit version 0: up to 20 keys in each threshold.
    Wsh,
    /// SegWit version 0 nested in P2SH.
    ShWsh,
    /// Taproot: each way to spend is a leaf of its own.
    Tr,
}

/// So many of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WalletQuorum {
    /// How many must sign.
    #[schema(minimum = 1, maximum = 20)]
    pub threshold: u32,
    /// Names of cosigners.
    #[schema(min_items = 1, max_items = 20)]
    pub of: Vec<String>,
}

/// What a wallet's descriptor means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WalletMeaning {
    /// The descriptor of both keychains with its checksum (BIP380, BIP389).
    pub descriptor: String,
    /// Its checksum, by which people compare it.
    pub checksum: String,
    /// Who can spend, and when, in words.
    pub words: String,
    /// Every way to spend; a payment names one by its place in this list.
    pub ways: Vec<SpendWay>,
    /// Who holds its keys.
    pub signers: Vec<KeyHolder>,
    /// The first addresses of the receive keychain.
    pub receive: Vec<String>,
    /// The first addresses of the change keychain.
    pub change: Vec<String>,
}

/// One way to spend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpendWay {
    /// Who signs, and when, in words.
    pub words: String,
    /// The most weight units that it adds to an input, beyond an unsigned one with an empty witness.
    pub max_weight: u64,
    /// For how many blocks a coin must have rested (BIP68).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_blocks: Option<u16>,
    /// From which block on it is open (BIP65).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_block: Option<u32>,
    /// Why it cannot be taken here, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// Whether a payment that names no way takes it.
    pub default: bool,
}

/// Who holds a key of a wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyHolder {
    /// A name, unique in the wallet.
    pub name: String,
    /// The key with its origin, as the descriptor has it.
    pub key: String,
    /// By whom it is held.
    pub role: KeyRole,
    /// The key of this server's keyring that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring_key: Option<KeyId>,
}

/// By whom a key is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// This server's keyring; it signs when an operation executes.
    Active,
    /// This server's keyring; it never signs by itself.
    Reserve,
    /// Somebody else.
    Outside,
}

/// A form in which wallets tell each other what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WalletFormat {
    /// The descriptor as text.
    #[default]
    Descriptor,
    /// Bitcoin Core's `importdescriptors`.
    Core,
    /// Descriptors as Sparrow reads them.
    Sparrow,
    /// Specter Desktop's wallet file.
    Specter,
    /// Caravan's wallet file.
    Caravan,
    /// Electrum's wallet file, watching only.
    Electrum,
    /// Coldcard's multisig file.
    Coldcard,
    /// A descriptor record (BIP129).
    Bsms,
    /// A wallet policy (BIP388).
    Bip388,
}

/// In which form a wallet is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// The form; `descriptor` when none is named.
    #[serde(default)]
    #[param(inline)]
    pub format: WalletFormat,
}

/// A wallet in the form of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WalletFile {
    /// The form.
    pub format: WalletFormat,
    /// What the file holds.
    pub file: String,
}

/// One of a wallet's two chains of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WalletKeychain {
    /// Addresses that are shown to others.
    #[default]
    Receive,
    /// Addresses of what comes back.
    Change,
}

/// Which address is to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CheckQuery {
    /// On which keychain; `receive` when it is not named.
    #[serde(default)]
    #[param(inline)]
    pub keychain: WalletKeychain,
    /// At which index; 0 when none is named.
    #[serde(default)]
    #[param(maximum = 2_147_483_647)]
    pub index: u32,
}

/// One address, and what every signer should find of it on its own device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressCheck {
    /// The address.
    pub address: String,
    /// On which keychain.
    pub keychain: WalletKeychain,
    /// At which index.
    pub index: u32,
    /// The checksum of the wallet's descriptor, which signers compare first.
    pub checksum: String,
    /// The witness script, in hexadecimal, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Each key of the address.
    pub signers: Vec<SignerView>,
}

/// A key of an address, as its holder's device derives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignerView {
    /// Whose.
    pub name: String,
    /// The root's fingerprint, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The path from the root, or from the extended key where the root is not known.
    pub path: String,
    /// The key, in hexadecimal.
    pub public_key: String,
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
    /// Whether it is labelled as not spendable, so that no payment takes it.
    pub frozen: bool,
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

/// A label as BIP329 has it: one line of a file of labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WalletLabel {
    /// `tx`, `addr`, `pubkey`, `input`, `output` or `xpub`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is attached to.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The wallet that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Whether an output may be spent; outputs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spendable: Option<bool>,
    /// What came with it besides.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// Labels to be taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLabels {
    /// JSON Lines as BIP329 has them. A record without `label` leaves the label that is there; `spendable: false` freezes
    /// an output, `true` frees it.
    #[schema(max_length = 1_300_000)]
    pub labels: String,
}

/// What became of labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LabelsTaken {
    /// How many records were stored.
    pub taken: usize,
    /// Lines of types that BIP329 does not define, which were left out.
    pub ignored: Vec<usize>,
    /// Lines whose label was cut to 255 characters.
    pub shortened: Vec<usize>,
}
