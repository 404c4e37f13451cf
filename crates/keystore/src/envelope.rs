//! The handle of a software key: its secret, sealed under a key of its own, which is sealed under the root key.
//!
//! `version (1) || wrapped key (60) || sealed secret`. Both seals authenticate tenant, key id, key version and
//! sort, so a handle copied into another key's row does not open there. Re-sealing the root key under another
//! passphrase touches no handle.

use zeroize::Zeroizing;

use crate::{
    aead::{KEY, OVERHEAD, fill_random, open, seal},
    root::RootKey,
};
use anya_provider::{Error, KeyContext, Result};

const VERSION: u8 = 1;
const WRAPPED: usize = KEY + OVERHEAD;

fn aad(layer: &str, ctx: &KeyContext) -> Vec<u8> {
    // Every field but the last has a fixed length or ends in a byte that it cannot contain.
    let mut aad = Vec::with_capacity(96);
    aad.extend_from_slice(b"anya/keys/envelope/1/");
    aad.extend_from_slice(layer.as_bytes());
    aad.push(0);
    aad.extend_from_slice(ctx.tenant.as_bytes());
    aad.extend_from_slice(ctx.key.as_bytes());
    aad.extend_from_slice(&ctx.version.to_be_bytes());
    aad.extend_from_slice(ctx.spec.name().as_bytes());
    aad
}

/// Seals the secret of the key that `ctx` names.
pub(crate) fn close(root: &RootKey, ctx: &KeyContext, secret: &[u8]) -> Result<Vec<u8>> {
    let mut own = Zeroizing::new([0; KEY]);
    fill_random(own.as_mut())?;
    let mut handle = vec![VERSION];
    handle.extend(seal(root.bytes()?, &aad("key", ctx), own.as_ref())?);
    handle.extend(seal(&own, &aad("secret", ctx), secret)?);
    Ok(handle)
}

/// Opens the handle of the key that `ctx` names.
pub(crate) fn unseal(root: &RootKey, ctx: &KeyContext, handle: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let (&version, rest) = handle.split_first().ok_or(Error::HandleDamaged)?;
    if version != VERSION {
        return Err(Error::HandleDamaged);
    }
    let (wrapped, sealed) = rest.split_at_checked(WRAPPED).ok_or(Error::HandleDamaged)?;
    let own = open(root.bytes()?, &aad("key", ctx), wrapped).ok_or(Error::HandleDamaged)?;
    let own: &[u8; KEY] = own.as_slice().try_into().map_err(|_| Error::HandleDamaged)?;
    open(own, &aad("secret", ctx), sealed).ok_or(Error::HandleDamaged)
}
