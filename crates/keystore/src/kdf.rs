//! From a passphrase to the key that seals the root key: Argon2id (RFC 9106).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::aead::KEY;
use anya_provider::{Error, Result};

/// What a guess at the passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KdfCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Default for KdfCost {
    /// 64 MiB, three passes, one lane: about a fifth of a second on a server's core.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

impl KdfCost {
    /// The least memory of a keystore that is in earnest, in KiB (OWASP's floor for two passes).
    pub const MIN_MEMORY_KIB: u32 = 19 * 1024;
    const MAX_MEMORY_KIB: u32 = 4 * 1024 * 1024;
    const MAX_PASSES: u32 = 64;
    const MAX_LANES: u32 = 16;

    /// A cost of one's own.
    ///
    /// # Errors
    /// Refuses less than 19 MiB with two passes, and more than 4 GiB, 64 passes or 16 lanes.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self> {
        let cost = Self { memory_kib, passes, lanes };
        if cost.is_weak() || !cost.is_bearable() {
            return Err(Error::invalid("kdf", "use 19456 to 4194304 KiB, 2 to 64 passes, 1 to 16 lanes"));
        }
        Ok(cost)
    }

    /// A cost that protects nothing, so that tests do not wait. A keystore made with it says so at each opening.
    pub fn insecure_for_tests() -> Self {
        Self { memory_kib: 64, passes: 1, lanes: 1 }
    }

    /// Whether this is less than a keystore should have.
    pub fn is_weak(&self) -> bool {
        self.memory_kib < Self::MIN_MEMORY_KIB || self.passes < 2
    }

    /// Whether an opening with this cost ends. A file is read before anything in it can be authenticated, so what
    /// it asks for is bounded.
    pub(crate) fn is_bearable(&self) -> bool {
        self.memory_kib <= Self::MAX_MEMORY_KIB
            && (1..=Self::MAX_PASSES).contains(&self.passes)
            && (1..=Self::MAX_LANES).contains(&self.lanes)
            && self.memory_kib >= 8 * self.lanes
    }

    /// Memory in KiB.
    pub fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    pub fn passes(&self) -> u32 {
        self.passes
    }

    /// Lanes.
    pub fn lanes(&self) -> u32 {
        self.lanes
    }
}

/// The key that `passphrase` gives with this salt. The memory it was made in is wiped.
pub(crate) fn derive(passphrase: &[u8], salt: &[u8; 16], cost: &KdfCost) -> Result<Zeroizing<[u8; KEY]>> {
    let failed = |_| Error::Internal("the key derivation refused its parameters");
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY)).map_err(failed)?;
    let mut blocks = vec![Block::new(); params.block_count()];
    let mut key = Zeroizing::new([0; KEY]);
    let outcome = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
        passphrase,
        salt,
        key.as_mut(),
        &mut blocks,
    );
    blocks.iter_mut().for_each(Zeroize::zeroize);
    outcome.map_err(failed)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_costs_need_the_explicit_name() {
        assert!(KdfCost::new(1024, 3, 1).is_err());
        assert!(KdfCost::new(64 * 1024, 1, 1).is_err());
        assert!(KdfCost::new(u32::MAX, 3, 1).is_err());
        assert!(KdfCost::insecure_for_tests().is_weak());
        assert!(!KdfCost::default().is_weak());
    }
}
