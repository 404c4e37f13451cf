//! What can go wrong between the server and the device.

use anya_provider::Error as ProviderError;

use crate::log::LogFault;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the device refused a command: its own error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// It does not know the command.
    #[error("it does not know this command: its firmware is too old")]
    InvalidCommand,
    /// The command is malformed, or asks for something that is not possible.
    #[error("the command is malformed or not possible")]
    InvalidData,
    /// The session is gone.
    #[error("the session has ended")]
    InvalidSession,
    /// The password or a wrapped object's key is wrong.
    #[error("a key or password does not fit")]
    AuthenticationFailed,
    /// Sixteen sessions are open.
    #[error("all of its sessions are taken: close other programs that use it, or wait 30 seconds")]
    SessionsFull,
    /// It has no room, or its storage failed.
    #[error("it has no room for another object: delete objects that are not needed")]
    StorageFailed,
    /// A length is wrong.
    #[error("a length is wrong")]
    WrongLength,
    /// The authentication key or the object does not allow this.
    #[error("the authentication key or the object lacks the capability for this")]
    InsufficientPermissions,
    /// Its log is full, and it is told to stop then.
    #[error("its log is full: drain it")]
    LogFull,
    /// There is no such object in the domains of the authentication key.
    #[error("it holds no such object that the authentication key may see")]
    ObjectNotFound,
    /// An id is not possible.
    #[error("the id is not possible")]
    InvalidId,
    /// The object is there already.
    #[error("it holds an object of this kind and id already")]
    ObjectExists,
    /// Another code.
    #[error("it answers with error {0:#04x}")]
    Other(u8),
}

impl DeviceError {
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            0x01 => Self::InvalidCommand,
            0x02 => Self::InvalidData,
            0x03 => Self::InvalidSession,
            0x04 => Self::AuthenticationFailed,
            0x05 => Self::SessionsFull,
            0x07 => Self::StorageFailed,
            0x08 => Self::WrongLength,
            0x09 => Self::InsufficientPermissions,
            0x0a => Self::LogFull,
            0x0b => Self::ObjectNotFound,
            0x0c => Self::InvalidId,
            0x11 => Self::ObjectExists,
            other => Self::Other(other),
        }
    }
}

/// A failure of the native path. No variant ever carries secret bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connector's address cannot be used.
    #[error("connector: {0}")]
    Connector(String),
    /// The connector does not answer.
    #[error("the connector does not answer: {0}")]
    Unreachable(String),
    /// The deadline passed.
    #[error("the device did not answer within the deadline")]
    Timeout,
    /// The device refuses the password of the authentication key.
    #[error("the device refuses authentication key {key:#06x}: check its id and password")]
    Credential {
        /// Which authentication key.
        key: u16,
    },
    /// The device refuses a command.
    #[error("the device refuses to {act}: {reason}")]
    Device {
        /// What was asked.
        act: &'static str,
        /// What it said.
        reason: DeviceError,
    },
    /// What came back is no answer of a device that shares our keys: somebody stands in between, or the device is
    /// broken.
    #[error("the answer is not the device's ({0}): look for who stands between this server and the device")]
    Protocol(&'static str),
    /// The device's log does not hold together.
    #[error(transparent)]
    Log(#[from] LogFault),
    /// A cryptographic primitive failed where it cannot.
    #[error("internal failure: {0}")]
    Internal(&'static str),
}

impl Error {
    /// The same as a provider answers it.
    pub(crate) fn of(self, provider: &str) -> ProviderError {
        let provider = provider.to_owned();
        match self {
            Self::Timeout => ProviderError::Timeout(provider),
            Self::Credential { .. } => ProviderError::Credential { provider, reason: self.to_string() },
            Self::Device { reason: DeviceError::StorageFailed, .. } => {
                ProviderError::Full { provider, reason: self.to_string() }
            }
            Self::Device { reason: DeviceError::ObjectNotFound, .. } => ProviderError::Missing(provider),
            Self::Protocol(what) => ProviderError::WrongAnswer { provider, what },
            Self::Internal(what) => ProviderError::Internal(what),
            other => ProviderError::Unavailable { provider, reason: other.to_string() },
        }
    }
}
