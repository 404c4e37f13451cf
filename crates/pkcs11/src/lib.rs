//! Keys in devices behind a PKCS#11 module.
//!
//! The module of a vendor may hang, crash or corrupt the memory it runs in, and a call into it cannot be cut short. So
//! it is loaded in a worker process only, one for each device, which can be killed and started again.
//!
//! * [`Pkcs11Provider`]: the provider; [`Pkcs11Config`] says of which device.
//! * [`Profile`]: what differs between vendors, as data.
//! * [`worker`]: the process that holds the module. `anya` runs it under a hidden command of its own.
//! * [`recovery_id`]: the last byte of a recoverable signature, which no device gives.
//!
//! Inside: `crew` keeps workers alive, `link` speaks to one, `wire` is what is said.

mod config;
mod crew;
mod keeper;
mod key;
mod link;
mod plan;
mod profile;
mod provider;
mod recovery;
mod wire;
pub mod worker;

pub use config::{Pkcs11Config, TokenSelector, UserKind, WorkerCommand};
pub use profile::{
    CurveName, Curves, HdWay, HmacKey, ImportBy, NonceFrom, ObjectiveMicros, PointOn, Profile, PssWay,
    SealWay, TransferWay, WrapWay,
};
pub use provider::Pkcs11Provider;
pub use recovery::recovery_id;
