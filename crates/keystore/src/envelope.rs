//! The handle of a software key: its secret, sealed under a key of its own, which is sealed under the root key.
//!
//! `version (2) || generation (4, big-endian) || flags (1) || wrapped key (60) || sealed secret`. Both seals
//! authenticate tenant, key id, key version, sort and flags, so a handle copied into another key's row does not open
//! there, and a key does not become transferable by turning a bit. They do not know the provider's name: a keystore may
//! be given another.
//!
//! Version 1, `version (1) || wrapped key (60) || sealed secret`, was written before there were generations and flags:
//! it is under generation 1, and not transferable.
//!
//! The ticket of a transfer has the same form, under names of its own, so that neither passes for the other.

use zeroize::Zeroizing;

use crate::{
    aead::{KEY, OVERHEAD, fill_random, open, seal},
    root::Roots,
};
use anya_provider::{Error, KeyContext, Result};

const WRAPPED: usize = KEY + OVERHEAD;
/// The flag of a key that may leave, wrapped for another provider.
const TRANSFERABLE: u8 = 1;

/// What an envelope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A key's secret.
    Key,
    /// The private key of an offer.
    Ticket,
}

/// What an envelope held.
pub(crate) struct Opened {
    pub(crate) secret: Zeroizing<Vec<u8>>,
    pub(crate) transferable: bool,
    pub(crate) generation: u32,
}

/// An envelope taken apart, believed in nothing yet.
struct Parts<'a> {
    generation: u32,
    /// As authenticated; version 1 had none.
    flags: Option<u8>,
    wrapped: &'a [u8],
    sealed: &'a [u8],
}

fn take_apart(envelope: &[u8]) -> Option<Parts<'_>> {
    let (version, rest) = envelope.split_first()?;
    let (generation, flags, rest) = match version {
        1 => (1, None, rest),
        2 => {
            let (generation, rest) = rest.split_first_chunk()?;
            let (flags, rest) = rest.split_first()?;
            (u32::from_be_bytes(*generation), Some(*flags), rest)
        }
        _ => return None,
    };
    let (wrapped, sealed) = rest.split_at_checked(WRAPPED)?;
    Some(Parts { generation, flags, wrapped, sealed })
}

/// The generation that an envelope says it is under.
pub(crate) fn generation_of(envelope: &[u8]) -> Option<u32> {
    take_apart(envelope).map(|parts| parts.generation)
}

/// The names of the two seals.
fn layers(content: Content) -> (&'static [u8], &'static [u8]) {
    match content {
        Content::Key => (b"key", b"secret"),
        Content::Ticket => (b"ticket-key", b"ticket"),
    }
}

fn aad(layer: &[u8], flags: Option<u8>, ctx: &KeyContext) -> Vec<u8> {
    // Every field but the last has a fixed length or ends in a byte that it cannot contain.
    let mut aad = Vec::with_capacity(96);
    aad.extend_from_slice(if flags.is_none() { b"anya/keys/envelope/1/" } else { b"anya/keys/envelope/2/" });
    aad.extend_from_slice(layer);
    aad.push(0);
    aad.extend(flags);
    aad.extend_from_slice(ctx.tenant.as_bytes());
    aad.extend_from_slice(ctx.key.as_bytes());
    aad.extend_from_slice(&ctx.version.to_be_bytes());
    aad.extend_from_slice(ctx.spec.name().as_bytes());
    aad
}

/// Seals what belongs to the key that `ctx` names, under the newest generation.
pub(crate) fn close(
    roots: &Roots,
    ctx: &KeyContext,
    content: Content,
    transferable: bool,
    secret: &[u8],
) -> Result<Vec<u8>> {
    let mut own = Zeroizing::new([0; KEY]);
    fill_random(own.as_mut())?;
    let flags = if transferable { TRANSFERABLE } else { 0 };
    let generation = roots.current();
    let (outer, inner) = layers(content);
    let mut envelope = Vec::with_capacity(6 + WRAPPED + secret.len() + OVERHEAD);
    envelope.push(2);
    envelope.extend_from_slice(&generation.to_be_bytes());
    envelope.push(flags);
    envelope.extend(seal(roots.key(generation)?, &aad(outer, Some(flags), ctx), own.as_ref())?);
    envelope.extend(seal(&own, &aad(inner, Some(flags), ctx), secret)?);
    Ok(envelope)
}

/// Opens what was sealed for the key that `ctx` names.
///
/// # Errors
/// [`Error::Missing`] of `provider` where the generation was held once and is retired; [`Error::HandleDamaged`] for
/// everything else that does not open.
pub(crate) fn unseal(
    roots: &Roots,
    ctx: &KeyContext,
    content: Content,
    envelope: &[u8],
    provider: &str,
) -> Result<Opened> {
    let Parts { generation, flags, wrapped, sealed } = take_apart(envelope).ok_or(Error::HandleDamaged)?;
    let Some(root) = roots.get(generation) else {
        let was_held = (1..roots.current()).contains(&generation);
        return Err(if was_held { Error::Missing(provider.to_owned()) } else { Error::HandleDamaged });
    };
    let (outer, inner) = layers(content);
    let own = open(root, &aad(outer, flags, ctx), wrapped).ok_or(Error::HandleDamaged)?;
    let own: &[u8; KEY] = own.as_slice().try_into().map_err(|_| Error::HandleDamaged)?;
    let secret = open(own, &aad(inner, flags, ctx), sealed).ok_or(Error::HandleDamaged)?;
    Ok(Opened { secret, transferable: flags.is_some_and(|flags| flags & TRANSFERABLE != 0), generation })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use anya_primitives::{KeyId, TenantId};
    use anya_provider::KeySpec;

    use super::*;

    fn context() -> KeyContext {
        KeyContext {
            tenant: TenantId::new(),
            key: KeyId::new(),
            version: 1,
            spec: KeySpec::Aes256,
            deadline: Instant::now() + Duration::from_secs(5),
        }
    }

    /// What the first release wrote.
    fn close_version_1(roots: &Roots, ctx: &KeyContext, secret: &[u8]) -> Vec<u8> {
        let own = [7; KEY];
        let mut envelope = vec![1];
        envelope.extend(seal(roots.key(1).unwrap(), &aad(b"key", None, ctx), &own).unwrap());
        envelope.extend(seal(&own, &aad(b"secret", None, ctx), secret).unwrap());
        envelope
    }

    #[test]
    fn version_1_is_generation_1_and_not_transferable() {
        let (roots, ctx) = (Roots::first().unwrap(), context());
        let old = close_version_1(&roots, &ctx, b"secret");
        let roots = roots.with_next().unwrap().unwrap();
        let opened = unseal(&roots, &ctx, Content::Key, &old, "software").unwrap();
        assert_eq!(
            (opened.secret.as_slice(), opened.generation, opened.transferable),
            (&b"secret"[..], 1, false)
        );
        // Dressed up as version 2, with or without the flag, it does not open.
        for flags in [0, TRANSFERABLE] {
            let dressed = [&[2, 0, 0, 0, 1, flags], &old[1..]].concat();
            let refused = unseal(&roots, &ctx, Content::Key, &dressed, "software");
            assert!(matches!(refused, Err(Error::HandleDamaged)));
        }
        let gone = unseal(&roots.without(1).unwrap(), &ctx, Content::Key, &old, "software");
        assert!(matches!(gone, Err(Error::Missing(_))));
    }

    #[test]
    fn nothing_of_it_can_be_exchanged() {
        let (roots, ctx) = (Roots::first().unwrap().with_next().unwrap().unwrap(), context());
        let good = close(&roots, &ctx, Content::Key, false, b"secret").unwrap();
        assert_eq!(generation_of(&good), Some(2));
        let opens = |ctx: &KeyContext, content, envelope: &[u8]| {
            unseal(&roots, ctx, content, envelope, "software").map(|opened| opened.transferable)
        };
        assert!(matches!(opens(&ctx, Content::Key, &good), Ok(false)));
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(opens(&ctx, Content::Key, &bad).is_err(), "byte {at}, bit {bit}");
            }
        }
        for length in 0..good.len() {
            assert!(matches!(opens(&ctx, Content::Key, &good[..length]), Err(Error::HandleDamaged)));
        }
        assert!(opens(&ctx, Content::Ticket, &good).is_err());
        let ticket = close(&roots, &ctx, Content::Ticket, false, b"secret").unwrap();
        assert!(opens(&ctx, Content::Key, &ticket).is_err());
        for other in [
            KeyContext { tenant: TenantId::new(), ..ctx.clone() },
            KeyContext { key: KeyId::new(), ..ctx.clone() },
            KeyContext { version: 2, ..ctx.clone() },
            KeyContext { spec: KeySpec::Ed25519, ..ctx.clone() },
        ] {
            assert!(matches!(opens(&other, Content::Key, &good), Err(Error::HandleDamaged)));
        }
    }
}
