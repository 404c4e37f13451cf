//! BIP32 seeds that are sealed at rest and opened in locked memory while a key is derived from them.

use anya_provider::{Error, HdMode, KeySpec, Residence};
use bitcoin::{
    NetworkKind, TapNodeHash,
    bip32::{ChildNumber, Xpriv, Xpub},
    hashes::Hash,
    key::TapTweak as _,
    secp256k1::{All, Keypair, Message, Secp256k1, SecretKey},
};
use cryptoki::session::Session;
use region::LockGuard;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    key::{Handle, KekRef, KeyRef, SealedSeed},
    wire::{Fault, How, Made, Make, Reply},
    worker::{
        kek::Role,
        phrase,
        seal::random,
        seat::{Seat, scrub},
        trouble::{Outcome, Trouble},
    },
};

/// The longest seed (BIP32), in bytes.
const LONGEST: usize = 64;

/// One page that is never swapped out, for the seed that is open. It is wiped when the seed is closed.
pub(crate) struct Cell {
    // Twice as long as a page, so that a whole one lies in it.
    memory: Vec<u8>,
    start: usize,
    _lock: LockGuard,
}

impl Cell {
    fn new() -> Result<Self, Fault> {
        let page = region::page::size();
        let memory = vec![0; 2 * page];
        let start = memory.as_ptr().align_offset(page);
        let refused = |reason: String| Fault::Protection(reason);
        let inside = memory.get(start..start + page).ok_or(Fault::Internal)?;
        let lock = region::lock(inside.as_ptr(), page).map_err(|error| {
            refused(format!("{error}: allow the worker to lock a page for each session (RLIMIT_MEMLOCK)"))
        })?;
        Ok(Self { memory, start, _lock: lock })
    }

    /// Lets `with` see `secret` in the locked page, and wipes it after.
    fn open<T>(&mut self, mut secret: Zeroizing<Vec<u8>>, with: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        let room = self.memory.get_mut(self.start..self.start + secret.len()).ok_or(Fault::Internal)?;
        room.copy_from_slice(&secret);
        secret.zeroize();
        let outcome = with(room);
        room.zeroize();
        Ok(outcome)
    }
}

fn data(key: &KeyRef, kek: &KekRef, transferable: bool) -> Vec<u8> {
    let mut data = key.bound("anya/pkcs11/seed/1");
    data.push(0);
    data.push(u8::from(transferable));
    data.extend_from_slice(&kek.generation.to_be_bytes());
    data
}

fn damaged<E>(_: E) -> Trouble {
    Error::HandleDamaged.into()
}

fn numbers(path: &[u32]) -> Vec<ChildNumber> {
    path.iter().map(|number| ChildNumber::from(*number)).collect()
}

impl Seat {
    /// A phrase's seed, kept like one that was given as bytes.
    pub(crate) fn import_phrase(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        phrase: &str,
        passphrase: &str,
    ) -> Outcome<Made> {
        if key.spec != KeySpec::Bip32Seed {
            return Err(Fault::WrongSpec(key.spec).into());
        }
        self.check_place(key, make)?;
        let seed = phrase::seed_of(phrase, passphrase)?;
        self.keep_seed(session, key, make, &seed, false)
    }

    /// Keeps a seed as its place asks, and says its root's public key.
    pub(crate) fn keep_seed(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        seed: &[u8],
        again: bool,
    ) -> Outcome<Made> {
        if !(16..=LONGEST).contains(&seed.len()) {
            return Err(Fault::invalid("secret", "a seed has 16 to 64 bytes (BIP32)").into());
        }
        if self.plan.hd == HdMode::InDevice {
            return self.keep_master(session, key, make, Some(seed), again);
        }
        let public = derived(self.curve().secp()?, seed, &[])?.0.encode().to_vec();
        let handle = self.seal_seed(session, key, make.transferable, seed)?;
        // What was sealed is opened again before anyone relies on it.
        let Handle::Seed(sealed) = Handle::read(key, &handle)? else { return Err(Fault::Internal.into()) };
        let reopened = self.with_seed(session, key, &sealed, |opened, _| opened == seed)?;
        scrub();
        if !reopened {
            return Err(Fault::Internal.into());
        }
        Ok(Made { handle, public, residence: Residence::WorkerMemory })
    }

    fn seal_seed(
        &mut self,
        session: &Session,
        key: &KeyRef,
        transferable: bool,
        seed: &[u8],
    ) -> Outcome<Vec<u8>> {
        let current = self.current_kek(session)?;
        // Nothing is wrapped here.
        let kek = KekRef { wrap: Vec::new(), ..current.name };
        let sealed = self.seal(session, current.seal, &data(key, &kek, transferable), seed)?;
        Ok(Handle::Seed(SealedSeed { key: key.id(), kek, transferable, sealed }).to_bytes()?)
    }

    /// Opens a seed in locked memory for as long as `with` takes.
    pub(crate) fn with_seed<T>(
        &mut self,
        session: &Session,
        key: &KeyRef,
        seed: &SealedSeed,
        with: impl FnOnce(&[u8], &Secp256k1<All>) -> T,
    ) -> Outcome<T> {
        let object = self.kek(session, &seed.kek, Role::Seal)?;
        let mut cell = match self.cell.take() {
            Some(cell) => cell,
            None => Cell::new()?,
        };
        let opened = self.unseal(session, object, &data(key, &seed.kek, seed.transferable), &seed.sealed);
        let outcome = opened.and_then(|secret| {
            let secp = self.curve().secp()?;
            cell.open(secret, |seed| with(seed, secp))
        });
        self.cell = Some(cell);
        outcome
    }

    /// Seals a seed anew under the newest generation.
    pub(crate) fn reseal_seed(
        &mut self,
        session: &Session,
        key: &KeyRef,
        seed: &SealedSeed,
    ) -> Outcome<Vec<u8>> {
        let opened = self.with_seed(session, key, seed, |opened, _| Zeroizing::new(opened.to_vec()))?;
        let handle = self.seal_seed(session, key, seed.transferable, &opened)?;
        let Handle::Seed(sealed) = Handle::read(key, &handle)? else { return Err(Fault::Internal.into()) };
        if !self.with_seed(session, key, &sealed, |again, _| again == opened.as_slice())? {
            return Err(Fault::Internal.into());
        }
        Ok(handle)
    }

    pub(crate) fn derive(
        &mut self,
        session: &Session,
        key: &KeyRef,
        handle: &[u8],
        path: &[u32],
    ) -> Outcome<Reply> {
        if key.spec != KeySpec::Bip32Seed {
            return Err(Fault::WrongSpec(key.spec).into());
        }
        let (xpub, root) = match Handle::read(key, handle)? {
            Handle::Seed(seed) => {
                let outcome = self.with_seed(session, key, &seed, |seed, secp| derived(secp, seed, path));
                scrub();
                outcome??
            }
            Handle::Device { .. } => self.derive_in_tree(session, key, path)?,
            Handle::Wrapped(_) => return Err(Fault::HandleDamaged.into()),
        };
        Ok(Reply::Derived { xpub: xpub.encode().to_vec(), root })
    }

    pub(crate) fn sign_from_seed(
        &mut self,
        session: &Session,
        key: &KeyRef,
        seed: &SealedSeed,
        path: &[u32],
        how: How,
        message: &[u8],
    ) -> Outcome<Vec<u8>> {
        let digest: [u8; 32] =
            message.try_into().map_err(|_| Fault::invalid("message", "a digest of 32 bytes is needed"))?;
        self.with_seed(session, key, seed, |seed, secp| {
            let mut child = child(secp, seed, path)?;
            let signature = match how {
                How::Ecdsa => {
                    let signature = secp.sign_ecdsa(&Message::from_digest(digest), &child);
                    Ok(signature.serialize_compact().to_vec())
                }
                How::Schnorr { tweak } => schnorr(secp, &child, tweak, digest),
                _ => Err(Fault::WrongSpec(KeySpec::Bip32Seed).into()),
            };
            child.non_secure_erase();
            signature
        })?
    }
}

/// The public key at a path, and the root's fingerprint.
fn derived(secp: &Secp256k1<All>, seed: &[u8], path: &[u32]) -> Outcome<(Xpub, [u8; 4])> {
    let mut root = Xpriv::new_master(NetworkKind::Main, seed).map_err(damaged)?;
    let fingerprint = root.fingerprint(secp).to_bytes();
    let child = root.derive_priv(secp, &numbers(path));
    root.private_key.non_secure_erase();
    let mut child = child.map_err(|_| Fault::invalid("path", "no key lies at it"))?;
    let xpub = Xpub::from_priv(secp, &child);
    child.private_key.non_secure_erase();
    Ok((xpub, fingerprint))
}

fn child(secp: &Secp256k1<All>, seed: &[u8], path: &[u32]) -> Outcome<SecretKey> {
    let mut root = Xpriv::new_master(NetworkKind::Main, seed).map_err(damaged)?;
    let child = root.derive_priv(secp, &numbers(path));
    root.private_key.non_secure_erase();
    let mut child = child.map_err(|_| Fault::invalid("path", "no key lies at it"))?;
    let key = child.private_key;
    child.private_key.non_secure_erase();
    Ok(key)
}

/// BIP340, for the output key of BIP341 where a tweak is asked for.
fn schnorr(
    secp: &Secp256k1<All>,
    key: &SecretKey,
    tweak: Option<Option<[u8; 32]>>,
    digest: [u8; 32],
) -> Outcome<Vec<u8>> {
    let mut pair = Keypair::from_secret_key(secp, key);
    if let Some(root) = tweak {
        let root = root.map(TapNodeHash::from_byte_array);
        let mut tweaked = pair.tap_tweak(secp, root).to_keypair();
        std::mem::swap(&mut pair, &mut tweaked);
        tweaked.non_secure_erase();
    }
    let mut aux = Zeroizing::new([0; 32]);
    random(aux.as_mut())?;
    let signature = secp.sign_schnorr_with_aux_rand(&Message::from_digest(digest), &pair, &aux);
    pair.non_secure_erase();
    Ok(signature.serialize().to_vec())
}
