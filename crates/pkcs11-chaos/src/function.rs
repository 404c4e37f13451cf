//! The functions of PKCS#11 v2.40, as targets of faults.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! functions {
    ($($name:ident),* $(,)?) => {
        /// A function of PKCS#11 v2.40, section 5, named without its `C_`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "they bear the standard's names")]
        pub enum Function {
            $($name),*
        }

        impl Function {
            /// Every function, in the order of `CK_FUNCTION_LIST`.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in C.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("C_", stringify!($name))),*
                }
            }
        }
    };
}

functions! {
    Initialize, Finalize, GetInfo, GetFunctionList, GetSlotList, GetSlotInfo, GetTokenInfo, GetMechanismList,
    GetMechanismInfo, InitToken, InitPIN, SetPIN, OpenSession, CloseSession, CloseAllSessions, GetSessionInfo,
    GetOperationState, SetOperationState, Login, Logout, CreateObject, CopyObject, DestroyObject, GetObjectSize,
    GetAttributeValue, SetAttributeValue, FindObjectsInit, FindObjects, FindObjectsFinal, EncryptInit, Encrypt,
    EncryptUpdate, EncryptFinal, DecryptInit, Decrypt, DecryptUpdate, DecryptFinal, DigestInit, Digest, DigestUpdate,
    DigestKey, DigestFinal, SignInit, Sign, SignUpdate, SignFinal, SignRecoverInit, SignRecover, VerifyInit, Verify,
    VerifyUpdate, VerifyFinal, VerifyRecoverInit, VerifyRecover, DigestEncryptUpdate, DecryptDigestUpdate,
    SignEncryptUpdate, DecryptVerifyUpdate, GenerateKey, GenerateKeyPair, WrapKey, UnwrapKey, DeriveKey, SeedRandom,
    GenerateRandom, GetFunctionStatus, CancelFunction, WaitForSlotEvent,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which calls a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    /// Every call but `C_Initialize`, `C_Finalize` and `C_GetFunctionList`.
    Any,
    /// Calls of one function.
    Function(Function),
}

impl Target {
    pub(crate) fn covers(self, function: Function) -> bool {
        match self {
            Self::Any => {
                !matches!(function, Function::Initialize | Function::Finalize | Function::GetFunctionList)
            }
            Self::Function(target) => target == function,
        }
    }
}

impl From<Function> for Target {
    fn from(function: Function) -> Self {
        Self::Function(function)
    }
}
