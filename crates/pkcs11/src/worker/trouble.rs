//! What a module's return value means for what is to be done next.

use std::fmt;

use anya_provider::Error;
use cryptoki::error::{Error as CkError, RvError};

use crate::wire::Fault;

/// The result of something that is done in a session.
pub(crate) type Outcome<T> = Result<T, Trouble>;

/// Why something in a session did not succeed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The token and every session with it are gone, or the module says so of one.
    Gone(String),
    /// The login or an operation's state is gone; another session may do better.
    Lost(String),
    /// The device failed for a reason that it keeps to itself: perhaps the same.
    Failed(String),
    /// An object's handle is not good any more; the object may be found again.
    Stale(String),
    /// Nothing to be done about it here.
    Fault(Fault),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<CkError> for Trouble {
    fn from(error: CkError) -> Self {
        let CkError::Pkcs11(value, function) = error else {
            let text = error.to_string();
            return match error {
                CkError::NullFunctionPointer | CkError::NotSupported => Self::Fault(Fault::Unsupported(text)),
                _ => Self::Fault(Fault::Unavailable(text)),
            };
        };
        let said = format!("C_{function:?} answered {value:?}");
        match value {
            RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::CryptokiNotInitialized
            | RvError::DeviceRemoved
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::SlotIdInvalid => Self::Gone(said),
            RvError::UserNotLoggedIn | RvError::OperationActive | RvError::OperationNotInitialized => {
                Self::Lost(said)
            }
            RvError::DeviceError | RvError::GeneralError | RvError::FunctionFailed => Self::Failed(said),
            RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
            | RvError::WrappingKeyHandleInvalid
            | RvError::UnwrappingKeyHandleInvalid => Self::Stale(said),
            RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized => Self::Fault(Fault::Credential(refusal(value).to_owned())),
            RvError::DeviceMemory => Self::Fault(Fault::Full(format!(
                "{said}: destroy keys that are not needed, or use a larger token"
            ))),
            RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::CurveNotSupported
            | RvError::FunctionNotSupported
            | RvError::DomainParamsInvalid => Self::Fault(Fault::Unsupported(format!("do this ({said})"))),
            RvError::KeyUnextractable | RvError::KeyNotWrappable => Self::Fault(Fault::NotTransferable),
            _ => Self::Fault(Fault::Unavailable(said)),
        }
    }
}

/// What a refused login means, and its remedy.
fn refusal(value: RvError) -> &'static str {
    match value {
        RvError::PinLocked => "the PIN is locked: have the security officer set a new one, then configure it",
        RvError::PinExpired => {
            "the PIN has expired: change it with the vendor's tool, then configure the new one"
        }
        RvError::UserPinNotInitialized => {
            "the token has no user PIN yet: initialise it with the vendor's tool"
        }
        _ => "the PIN is wrong: configure the right one; it is not tried again",
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(reason) | Self::Lost(reason) | Self::Failed(reason) | Self::Stale(reason) => {
                f.write_str(reason)
            }
            Self::Fault(fault) => write!(f, "{fault:?}"),
        }
    }
}

impl Trouble {
    /// The same for whoever asked.
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Gone(reason) | Self::Lost(reason) | Self::Failed(reason) | Self::Stale(reason) => {
                Fault::Unavailable(reason)
            }
            Self::Fault(fault) => fault,
        }
    }
}
