//! What can be wrong with a PSBT, where, and what it means to the caller.

use std::fmt;

use anya_primitives::{Amount, Classified, ErrorKind, FeeRate};

use crate::model::Version;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A map of a PSBT. Inputs and outputs count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The global map.
    Global,
    /// The map of an input.
    Input(usize),
    /// The map of an output.
    Output(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global map"),
            Self::Input(number) => write!(f, "input {number}"),
            Self::Output(number) => write!(f, "output {number}"),
        }
    }
}

/// Why a PSBT, or a step with it, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is longer than anything that is read.
    #[error("the PSBT is {bytes} bytes long: at most {limit} are read")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// [`MAX_BYTES`](crate::MAX_BYTES).
        limit: usize,
    },
    /// It is no PSBT in any encoding that is known.
    #[error("this is no PSBT in binary, base64 or hex: {0}")]
    NotPsbt(&'static str),
    /// It ends too early.
    #[error("{place}: the PSBT ends in the middle of it")]
    Truncated {
        /// The map that is not whole.
        place: Place,
    },
    /// Bytes follow its last map.
    #[error("{0} bytes follow the last output of the PSBT")]
    Trailing(usize),
    /// A version that no BIP defines.
    #[error("PSBT version {0} is not supported: use 0 or 2")]
    UnsupportedVersion(u32),
    /// More of something than a transaction can hold.
    #[error("{place}: more than {limit} {what}")]
    TooMany {
        /// Where.
        place: Place,
        /// What there is too much of.
        what: &'static str,
        /// The most that is read.
        limit: usize,
    },
    /// The same key stands twice in a map.
    #[error("{place}: {field} stands there twice with the same key")]
    Duplicate {
        /// Where.
        place: Place,
        /// The field, by its name in the BIP.
        field: &'static str,
    },
    /// A field that the version needs is not there.
    #[error("{place}: {field} is missing, which a PSBT of version {version} needs")]
    Missing {
        /// Where.
        place: Place,
        /// The field, by its name in the BIP.
        field: &'static str,
        /// The version of the PSBT.
        version: Version,
    },
    /// A field of another version.
    #[error("{place}: {field} does not belong into a PSBT of version {version}")]
    ForeignField {
        /// Where.
        place: Place,
        /// The field, by its name in the BIP.
        field: &'static str,
        /// The version of the PSBT.
        version: Version,
    },
    /// A field is not encoded as its BIP says.
    #[error("{place}: {field} {reason}")]
    Malformed {
        /// Where.
        place: Place,
        /// The field, by its name in the BIP.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Some inputs can only be spent by height and others only by time (BIP370).
    #[error("no lock time suits all inputs: some need a block height, others a time")]
    LockTimeConflict,
    /// Version 0 cannot say that a transaction may still grow.
    #[error("inputs or outputs may still be added: close the PSBT before it becomes version 0")]
    StillModifiable,
    /// It contradicts itself.
    #[error("{place}: {fault}")]
    Faulty {
        /// Where.
        place: Place,
        /// What is wrong.
        fault: Fault,
    },
    /// More goes out than comes in.
    #[error("the outputs are worth {outputs}, more than the inputs' {inputs}")]
    PaysTooMuch {
        /// The sum of the inputs.
        inputs: Amount,
        /// The sum of the outputs.
        outputs: Amount,
    },
    /// A signature of another kind than the caller allows.
    #[error("input {input}: sighash type {sighash:#x} is not allowed here: ask for it by name")]
    SighashRefused {
        /// The input.
        input: usize,
        /// The type, as BIP174 writes it.
        sighash: u32,
    },
    /// The constructor may not do this.
    #[error("{what} of this PSBT may not be changed: {reason}")]
    NotModifiable {
        /// Inputs or outputs.
        what: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// There is no such input or output.
    #[error("there is no {0}")]
    NoSuch(Place),
    /// The PSBTs are of different transactions.
    #[error("the PSBTs are of different transactions or versions: {0}")]
    Different(&'static str),
    /// Two PSBTs say different things.
    #[error("{place}: the PSBTs disagree on {field}")]
    Conflict {
        /// Where.
        place: Place,
        /// The field, by its name in the BIP.
        field: &'static str,
    },
    /// The descriptor is not the one of this input or output.
    #[error("{place}: the descriptor does not make this script")]
    NotOfDescriptor {
        /// Where.
        place: Place,
    },
    /// A descriptor that cannot be used here.
    #[error("the descriptor cannot be used: {0}")]
    Descriptor(String),
    /// A key that this input does not ask for.
    #[error("input {input} asks for no signature of this key")]
    NoSuchKey {
        /// The input.
        input: usize,
    },
    /// A signature that does not hold.
    #[error("input {input}: the signature {reason}")]
    BadSignature {
        /// The input.
        input: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An input cannot be finished with what is there.
    #[error("input {input} cannot be finalized: {reason}")]
    Incomplete {
        /// The input.
        input: usize,
        /// What is missing, in miniscript's words where they are its.
        reason: String,
    },
    /// A final script does not satisfy the output that it spends, or nothing here can tell.
    #[error("input {input}: the final script does not satisfy the output: {reason}")]
    Unsatisfied {
        /// The input.
        input: usize,
        /// What is wrong.
        reason: String,
    },
    /// The fee rate is beyond anything reasonable.
    #[error("the fee rate is {} sat/kwu, above the cap of {}: raise the cap if that is meant", rate.to_sat_per_kwu(), cap.to_sat_per_kwu())]
    FeeRateAboveCap {
        /// The rate of the finished transaction.
        rate: FeeRate,
        /// The most that is allowed.
        cap: FeeRate,
    },
    /// An invariant of this crate does not hold.
    #[error("defect in the PSBT code: {0}")]
    Internal(&'static str),
}

/// How a PSBT contradicts itself, or what it lacks to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No inputs or no outputs.
    #[error("the transaction has no inputs or no outputs")]
    Empty,
    /// Nothing says what the input spends.
    #[error("neither the previous transaction nor the spent output is there")]
    NoUtxo,
    /// The previous transaction has another id.
    #[error("the previous transaction is not the one that the input spends from")]
    OtherPrevious,
    /// The previous transaction has no such output.
    #[error("the previous transaction has no such output")]
    NoSuchOutput,
    /// The two records of the spent output differ.
    #[error("the spent output differs from that of the previous transaction")]
    UtxosDisagree,
    /// A signature of before segwit does not commit to the amount.
    #[error(
        "an output of before segwit is spent and the previous transaction is missing, without which its amount is unproven"
    )]
    NeedsPrevious,
    /// The redeem script is another one's.
    #[error("the redeem script does not hash to the spent output")]
    RedeemScript,
    /// The witness script is another one's.
    #[error("the witness script does not hash to the spent output")]
    WitnessScript,
    /// A script that this kind of output has no use for.
    #[error("a script is there that this kind of output does not have")]
    NeedlessScript,
    /// Internal key and merkle root do not make the output key.
    #[error("the taproot internal key and merkle root do not make the output's key")]
    TaprootKey,
    /// A leaf that is not in the tree.
    #[error("a taproot leaf is not committed to by the output")]
    TaprootLeaf,
    /// More bitcoin than there are.
    #[error("the amount is more than all bitcoin")]
    Amount,
    /// The same coin twice.
    #[error("the same coin is spent by an earlier input")]
    SpentTwice,
    /// The script has `OP_CODESEPARATOR`, or is too long or too deep to be worked on.
    #[error("the script is beyond what is signed here (OP_CODESEPARATOR, 10,000 bytes, 201 operations)")]
    Script,
    /// A witness version or an output type whose rules are not known here.
    #[error("the output is of a kind that cannot be spent by this software")]
    UnknownKind,
    /// A script is needed and is not there.
    #[error("the script that the output commits to is missing")]
    NoScript,
}

impl Error {
    pub(crate) fn faulty(place: Place, fault: Fault) -> Self {
        Self::Faulty { place, fault }
    }

    pub(crate) fn input(input: usize, fault: Fault) -> Self {
        Self::Faulty { place: Place::Input(input), fault }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLong { .. } | Self::TooMany { .. } => ErrorKind::Exhausted,
            Self::UnsupportedVersion(_) => ErrorKind::Unsupported,
            Self::Faulty { fault: Fault::Script | Fault::UnknownKind, .. } => ErrorKind::Unsupported,
            Self::SighashRefused { .. } | Self::FeeRateAboveCap { .. } => ErrorKind::Refused,
            Self::NotModifiable { .. } | Self::StillModifiable | Self::Incomplete { .. } => {
                ErrorKind::Conflict
            }
            Self::NoSuch(_) => ErrorKind::NotFound,
            Self::Internal(_) => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }
}
