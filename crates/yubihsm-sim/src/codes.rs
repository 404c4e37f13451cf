//! The numbers of the protocol, as Yubico publishes them.

use aws_lc_rs::hmac;

/// Why a command failed: the byte that a device answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum DeviceError {
    InvalidCommand = 0x01,
    InvalidData = 0x02,
    InvalidSession = 0x03,
    AuthenticationFailed = 0x04,
    SessionsFull = 0x05,
    StorageFailed = 0x07,
    WrongLength = 0x08,
    InsufficientPermissions = 0x09,
    LogFull = 0x0a,
    ObjectNotFound = 0x0b,
    ObjectExists = 0x11,
}

pub(crate) mod command {
    pub(crate) const BOOT: u8 = 0x00;
    pub(crate) const ECHO: u8 = 0x01;
    pub(crate) const CREATE_SESSION: u8 = 0x03;
    pub(crate) const AUTHENTICATE_SESSION: u8 = 0x04;
    pub(crate) const SESSION_MESSAGE: u8 = 0x05;
    pub(crate) const DEVICE_INFO: u8 = 0x06;
    pub(crate) const RESET_DEVICE: u8 = 0x08;
    pub(crate) const CLOSE_SESSION: u8 = 0x40;
    pub(crate) const STORAGE_INFO: u8 = 0x41;
    pub(crate) const PUT_OPAQUE: u8 = 0x42;
    pub(crate) const GET_OPAQUE: u8 = 0x43;
    pub(crate) const PUT_AUTHENTICATION_KEY: u8 = 0x44;
    pub(crate) const PUT_ASYMMETRIC_KEY: u8 = 0x45;
    pub(crate) const GENERATE_ASYMMETRIC_KEY: u8 = 0x46;
    pub(crate) const SIGN_PKCS1: u8 = 0x47;
    pub(crate) const LIST_OBJECTS: u8 = 0x48;
    pub(crate) const EXPORT_WRAPPED: u8 = 0x4a;
    pub(crate) const IMPORT_WRAPPED: u8 = 0x4b;
    pub(crate) const PUT_WRAP_KEY: u8 = 0x4c;
    pub(crate) const GET_LOG_ENTRIES: u8 = 0x4d;
    pub(crate) const GET_OBJECT_INFO: u8 = 0x4e;
    pub(crate) const SET_OPTION: u8 = 0x4f;
    pub(crate) const GET_OPTION: u8 = 0x50;
    pub(crate) const GET_PSEUDO_RANDOM: u8 = 0x51;
    pub(crate) const PUT_HMAC_KEY: u8 = 0x52;
    pub(crate) const SIGN_HMAC: u8 = 0x53;
    pub(crate) const GET_PUBLIC_KEY: u8 = 0x54;
    pub(crate) const SIGN_PSS: u8 = 0x55;
    pub(crate) const SIGN_ECDSA: u8 = 0x56;
    pub(crate) const DERIVE_ECDH: u8 = 0x57;
    pub(crate) const DELETE_OBJECT: u8 = 0x58;
    pub(crate) const GENERATE_HMAC_KEY: u8 = 0x5a;
    pub(crate) const GENERATE_WRAP_KEY: u8 = 0x5b;
    pub(crate) const VERIFY_HMAC: u8 = 0x5c;
    pub(crate) const SIGN_ATTESTATION: u8 = 0x64;
    pub(crate) const SET_LOG_INDEX: u8 = 0x67;
    pub(crate) const WRAP_DATA: u8 = 0x68;
    pub(crate) const UNWRAP_DATA: u8 = 0x69;
    pub(crate) const SIGN_EDDSA: u8 = 0x6a;
    pub(crate) const BLINK: u8 = 0x6b;
    pub(crate) const CHANGE_AUTHENTICATION_KEY: u8 = 0x6c;
    /// The answer of a command that failed.
    pub(crate) const ERROR: u8 = 0x7f;
    /// The log entry of a reset.
    pub(crate) const RESET_ENTRY: u8 = 0xff;

    /// Every command that this simulator obeys, in the order in which the audit option lists them.
    pub(crate) const ALL: [u8; 40] = [
        ECHO,
        CREATE_SESSION,
        AUTHENTICATE_SESSION,
        SESSION_MESSAGE,
        DEVICE_INFO,
        RESET_DEVICE,
        CLOSE_SESSION,
        STORAGE_INFO,
        PUT_OPAQUE,
        GET_OPAQUE,
        PUT_AUTHENTICATION_KEY,
        PUT_ASYMMETRIC_KEY,
        GENERATE_ASYMMETRIC_KEY,
        SIGN_PKCS1,
        LIST_OBJECTS,
        EXPORT_WRAPPED,
        IMPORT_WRAPPED,
        PUT_WRAP_KEY,
        GET_LOG_ENTRIES,
        GET_OBJECT_INFO,
        SET_OPTION,
        GET_OPTION,
        GET_PSEUDO_RANDOM,
        PUT_HMAC_KEY,
        SIGN_HMAC,
        GET_PUBLIC_KEY,
        SIGN_PSS,
        SIGN_ECDSA,
        DERIVE_ECDH,
        DELETE_OBJECT,
        GENERATE_HMAC_KEY,
        GENERATE_WRAP_KEY,
        VERIFY_HMAC,
        SIGN_ATTESTATION,
        SET_LOG_INDEX,
        WRAP_DATA,
        UNWRAP_DATA,
        SIGN_EDDSA,
        BLINK,
        CHANGE_AUTHENTICATION_KEY,
    ];

    /// Those that a new device does not log: they change nothing and use no key. Real firmwares differ in which.
    pub(crate) const QUIET: [u8; 10] = [
        ECHO,
        SESSION_MESSAGE,
        DEVICE_INFO,
        STORAGE_INFO,
        LIST_OBJECTS,
        GET_LOG_ENTRIES,
        GET_OBJECT_INFO,
        GET_PSEUDO_RANDOM,
        GET_PUBLIC_KEY,
        BLINK,
    ];
}

/// Bits of a capability set, counted from the least significant.
pub(crate) mod capability {
    pub(crate) const GET_OPAQUE: u8 = 0x00;
    pub(crate) const PUT_OPAQUE: u8 = 0x01;
    pub(crate) const PUT_AUTHENTICATION_KEY: u8 = 0x02;
    pub(crate) const PUT_ASYMMETRIC_KEY: u8 = 0x03;
    pub(crate) const GENERATE_ASYMMETRIC_KEY: u8 = 0x04;
    pub(crate) const SIGN_PKCS: u8 = 0x05;
    pub(crate) const SIGN_PSS: u8 = 0x06;
    pub(crate) const SIGN_ECDSA: u8 = 0x07;
    pub(crate) const SIGN_EDDSA: u8 = 0x08;
    pub(crate) const DERIVE_ECDH: u8 = 0x0b;
    pub(crate) const EXPORT_WRAPPED: u8 = 0x0c;
    pub(crate) const IMPORT_WRAPPED: u8 = 0x0d;
    pub(crate) const PUT_WRAP_KEY: u8 = 0x0e;
    pub(crate) const GENERATE_WRAP_KEY: u8 = 0x0f;
    pub(crate) const EXPORTABLE_UNDER_WRAP: u8 = 0x10;
    pub(crate) const SET_OPTION: u8 = 0x11;
    pub(crate) const GET_OPTION: u8 = 0x12;
    pub(crate) const GET_PSEUDO_RANDOM: u8 = 0x13;
    pub(crate) const PUT_HMAC_KEY: u8 = 0x14;
    pub(crate) const GENERATE_HMAC_KEY: u8 = 0x15;
    pub(crate) const SIGN_HMAC: u8 = 0x16;
    pub(crate) const VERIFY_HMAC: u8 = 0x17;
    pub(crate) const GET_LOG_ENTRIES: u8 = 0x18;
    pub(crate) const RESET_DEVICE: u8 = 0x1c;
    pub(crate) const SIGN_ATTESTATION: u8 = 0x22;
    pub(crate) const WRAP_DATA: u8 = 0x25;
    pub(crate) const UNWRAP_DATA: u8 = 0x26;
    pub(crate) const DELETE_OPAQUE: u8 = 0x27;
    pub(crate) const DELETE_AUTHENTICATION_KEY: u8 = 0x28;
    pub(crate) const DELETE_ASYMMETRIC_KEY: u8 = 0x29;
    pub(crate) const DELETE_WRAP_KEY: u8 = 0x2a;
    pub(crate) const DELETE_HMAC_KEY: u8 = 0x2b;
    pub(crate) const CHANGE_AUTHENTICATION_KEY: u8 = 0x2e;

    /// What the key of a new device may do and pass on, as clients write `all`.
    pub(crate) const EVERY: u64 = u64::MAX;
}

pub(crate) mod kind {
    pub(crate) const OPAQUE: u8 = 1;
    pub(crate) const AUTHENTICATION_KEY: u8 = 2;
    pub(crate) const ASYMMETRIC_KEY: u8 = 3;
    pub(crate) const WRAP_KEY: u8 = 4;
    pub(crate) const HMAC_KEY: u8 = 5;
}

pub(crate) mod origin {
    pub(crate) const GENERATED: u8 = 0x01;
    pub(crate) const IMPORTED: u8 = 0x02;
    /// Added once an object came in wrapped.
    pub(crate) const WRAPPED: u8 = 0x10;
}

pub(crate) mod algorithm {
    pub(crate) const RSA_2048: u8 = 9;
    pub(crate) const RSA_3072: u8 = 10;
    pub(crate) const EC_P256: u8 = 12;
    pub(crate) const EC_K256: u8 = 15;
    pub(crate) const HMAC_SHA1: u8 = 19;
    pub(crate) const HMAC_SHA256: u8 = 20;
    pub(crate) const HMAC_SHA384: u8 = 21;
    pub(crate) const HMAC_SHA512: u8 = 22;
    pub(crate) const AES128_CCM_WRAP: u8 = 29;
    pub(crate) const OPAQUE_DATA: u8 = 30;
    pub(crate) const OPAQUE_X509: u8 = 31;
    pub(crate) const MGF1_SHA256: u8 = 33;
    pub(crate) const MGF1_SHA384: u8 = 34;
    pub(crate) const MGF1_SHA512: u8 = 35;
    pub(crate) const YUBICO_AUTHENTICATION: u8 = 38;
    pub(crate) const AES192_CCM_WRAP: u8 = 41;
    pub(crate) const AES256_CCM_WRAP: u8 = 42;
    pub(crate) const ED25519: u8 = 46;

    /// What GET DEVICE INFO lists: RSA-PKCS1 and -PSS with SHA-256 to SHA-512 (2 to 4, 6 to 8), ECDSA (43 to 45) and
    /// ECDH (24), and the algorithms of keys. Clients take from it what they may ask for.
    pub(crate) const ALL: [u8; 28] = [
        2,
        3,
        4,
        6,
        7,
        8,
        RSA_2048,
        RSA_3072,
        EC_P256,
        EC_K256,
        HMAC_SHA1,
        HMAC_SHA256,
        HMAC_SHA384,
        HMAC_SHA512,
        24,
        AES128_CCM_WRAP,
        OPAQUE_DATA,
        OPAQUE_X509,
        MGF1_SHA256,
        MGF1_SHA384,
        MGF1_SHA512,
        YUBICO_AUTHENTICATION,
        AES192_CCM_WRAP,
        AES256_CCM_WRAP,
        43,
        44,
        45,
        ED25519,
    ];
}

/// The hash and block size of an HMAC algorithm.
pub(crate) fn hmac_of(algorithm: u8) -> Option<(hmac::Algorithm, usize)> {
    match algorithm {
        algorithm::HMAC_SHA1 => Some((hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, 64)),
        algorithm::HMAC_SHA256 => Some((hmac::HMAC_SHA256, 64)),
        algorithm::HMAC_SHA384 => Some((hmac::HMAC_SHA384, 128)),
        algorithm::HMAC_SHA512 => Some((hmac::HMAC_SHA512, 128)),
        _ => None,
    }
}

/// The length of a wrap key, in bytes.
pub(crate) fn wrap_key_len(algorithm: u8) -> Option<usize> {
    match algorithm {
        algorithm::AES128_CCM_WRAP => Some(16),
        algorithm::AES192_CCM_WRAP => Some(24),
        algorithm::AES256_CCM_WRAP => Some(32),
        _ => None,
    }
}

/// Takes the fields of a command from its data, in order.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], DeviceError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DeviceError::WrongLength)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DeviceError> {
        self.bytes(N)?.try_into().map_err(|_| DeviceError::WrongLength)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DeviceError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DeviceError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DeviceError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// That nothing is left over.
    pub(crate) fn end(&self) -> Result<(), DeviceError> {
        if self.0.is_empty() { Ok(()) } else { Err(DeviceError::WrongLength) }
    }
}
