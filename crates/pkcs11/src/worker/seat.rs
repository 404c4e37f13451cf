//! One session, the thread that owns it, and what they remember.

use std::{collections::HashMap, hint::black_box, sync::Arc};

use anya_provider::{HdMode, KeySpec, Residence, Verifier};
use bitcoin::secp256k1::{All, Secp256k1};
use cryptoki::{
    object::{Attribute, ObjectHandle},
    session::Session,
};

use crate::{
    key::{Handle, KeyRef},
    plan::Plan,
    profile::Profile,
    wire::{Fault, Made, Make, Op, Reply, monotonic_now},
    worker::{
        hall::{Chair, Hall, Module, is_logged_in, locked},
        kek::Kek,
        objects,
        seed::Cell,
        trouble::{Outcome, Trouble},
        wrapped::Loaded,
    },
};

/// Token objects whose handles a session remembers.
const REMEMBERED: usize = 8192;

/// A seat before its thread has taken it.
pub(crate) struct Place {
    hall: Arc<Hall>,
    chair: Chair,
}

impl Place {
    pub(crate) fn new(hall: &Arc<Hall>) -> Self {
        Self { hall: hall.clone(), chair: hall.chair() }
    }

    /// The seat, logged in if that is possible now.
    pub(crate) fn sit(self) -> Seat {
        let mut seat = self.sit_down();
        let (hall, chair) = (seat.hall.clone(), seat.chair.clone());
        let module = hall.module();
        // What hinders it now will be met again, and reported, at the first call.
        let _ = seat.settle(&module, &mut locked(&chair));
        drop(module);
        seat
    }

    /// The seat as it is.
    pub(crate) fn sit_down(self) -> Seat {
        let Self { hall, chair } = self;
        // Whoever sat here before has left a session of this epoch, or none.
        let epoch = hall.module().epoch;
        Seat {
            plan: hall.plan(),
            loaded: Loaded::new(hall.profile.loaded_keys),
            epoch,
            hall,
            chair,
            changes: 0,
            objects: HashMap::new(),
            keks: None,
            cell: None,
            curve: Curve::default(),
            verifier: None,
            deadline: 0,
        }
    }
}

/// What was done already about a call that does not succeed.
#[derive(Default)]
struct Remedies {
    /// The handles of objects were forgotten.
    forgot: bool,
    /// The session was given up.
    left: bool,
    /// The module was started anew.
    restarted: bool,
    /// The module was started anew to see what it had overlooked.
    looked: bool,
}

impl Remedies {
    fn any(&self) -> bool {
        self.forgot || self.left || self.restarted || self.looked
    }
}

/// See the module's description.
pub(crate) struct Seat {
    pub(crate) hall: Arc<Hall>,
    pub(crate) plan: Plan,
    chair: Chair,
    /// Which epoch of the module's the memory belongs to.
    epoch: u64,
    /// Which changes of the hall's the memory knows of.
    changes: u64,
    objects: HashMap<KeyRef, ObjectHandle>,
    pub(crate) loaded: Loaded,
    pub(crate) keks: Option<Vec<Kek>>,
    pub(crate) cell: Option<Cell>,
    curve: Curve,
    verifier: Option<Verifier>,
    /// Until when the call under way is waited for.
    deadline: u64,
}

impl Seat {
    /// Leaves the session behind for the next who sits here.
    pub(crate) fn stand_up(self) -> Place {
        Place { hall: self.hall, chair: self.chair }
    }

    pub(crate) fn profile(&self) -> &Profile {
        &self.hall.profile
    }

    /// The code that checks what the device answers.
    pub(crate) fn verifier(&mut self) -> &Verifier {
        self.verifier.get_or_insert_with(Verifier::new)
    }

    pub(crate) fn curve(&mut self) -> &mut Curve {
        &mut self.curve
    }

    pub(crate) fn is_late(&self) -> bool {
        monotonic_now() >= self.deadline
    }

    /// Logs in for the first time, tries what the profile does not vouch for, and says which token it is.
    pub(crate) fn try_out(&mut self) -> Result<String, Fault> {
        let (hall, chair) = (self.hall.clone(), self.chair.clone());
        let module = hall.module();
        let mut place = locked(&chair);
        let session = self.settle(&module, &mut place).map_err(Trouble::into_fault)?;
        module.serves();
        let info = hall.token_info(&module).map_err(Trouble::into_fault)?;
        if hall.profile.probe && hall.profile.session_objects {
            let tried = [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519]
                .map(|spec| (spec, self.plan.device.contains(&spec) && self.has_curve(session, spec)));
            hall.retain(|spec| tried.iter().all(|(known, good)| *known != spec || *good));
            self.plan = hall.plan();
        }
        let firmware = info.firmware_version();
        Ok(format!(
            "{} {}, firmware {firmware}, token `{}`, serial number {}",
            info.manufacturer_id().trim(),
            info.model().trim(),
            info.label().trim(),
            info.serial_number().trim(),
        ))
    }

    /// Whether the device makes keys on this curve.
    fn has_curve(&self, session: &Session, spec: KeySpec) -> bool {
        let flags = [Attribute::Token(false)];
        match self.generate_pair(session, spec, &flags, &flags) {
            Ok((public, private)) => {
                objects::discard(session, &[public, private]);
                true
            }
            Err(_) => false,
        }
    }

    /// Does what is asked. Sessions, logins and tokens that were lost are found again along the way.
    pub(crate) fn serve(&mut self, op: &Op<'_>, deadline: u64) -> Result<Reply, Fault> {
        self.deadline = deadline;
        let mut tried = Remedies::default();
        let outcome = loop {
            if self.is_late() {
                break Err(Fault::Timeout);
            }
            let (hall, chair) = (self.hall.clone(), self.chair.clone());
            let outcome = {
                let module = hall.module();
                let mut place = locked(&chair);
                let outcome = match self.settle(&module, &mut place) {
                    Ok(session) => self.perform(session, &module, op, tried.any()),
                    Err(trouble) => Err(trouble),
                };
                if outcome.is_ok() {
                    module.serves();
                }
                outcome
            };
            let trouble = match outcome {
                Ok(reply) => break Ok(reply),
                Err(trouble) => trouble,
            };
            if let Err(fault) = self.remedy(&mut tried, trouble) {
                break Err(fault);
            }
        };
        self.in_time(op, outcome)
    }

    /// Does something about a trouble, each remedy once, the light ones first; or says that there is none.
    fn remedy(&mut self, tried: &mut Remedies, trouble: Trouble) -> Result<(), Fault> {
        let hall = self.hall.clone();
        let restart = match &trouble {
            Trouble::Fault(Fault::Missing) if hall.profile.stale_listing && !tried.looked => {
                tried.looked = true;
                return hall.refresh(self.epoch).map_err(Trouble::into_fault);
            }
            Trouble::Fault(_) => false,
            Trouble::Stale(_) if !tried.forgot => {
                tried.forgot = true;
                self.forget_all();
                return Ok(());
            }
            Trouble::Gone(_) if !tried.left => {
                tried.left = true;
                hall.clear(self.epoch);
                return Ok(());
            }
            _ if !tried.left => {
                tried.left = true;
                self.leave();
                return Ok(());
            }
            Trouble::Failed(_) => !self.is_sound(),
            Trouble::Gone(_) | Trouble::Lost(_) | Trouble::Stale(_) => true,
        };
        if restart && !tried.restarted {
            tried.restarted = true;
            return hall.restart(self.epoch, &trouble).map_err(Trouble::into_fault);
        }
        Err(trouble.into_fault())
    }

    /// Takes back what was made for a caller who has stopped waiting: nobody would ever know of it.
    fn in_time(&mut self, op: &Op<'_>, outcome: Result<Reply, Fault>) -> Result<Reply, Fault> {
        let key = match op {
            Op::Generate { key, .. }
            | Op::Import { key, .. }
            | Op::ImportPhrase { key, .. }
            | Op::TransferIn { key, .. } => key,
            _ => return outcome,
        };
        match outcome {
            Ok(Reply::Key(Made { handle, .. })) if self.is_late() => {
                let chair = self.chair.clone();
                if matches!(Handle::read(key, &handle), Ok(Handle::Device { .. }))
                    && let Some(session) = &*locked(&chair)
                    && let Ok(found) = objects::find_key(session, key, None)
                {
                    objects::discard(session, &found);
                    self.objects.remove(key);
                }
                Err(Fault::Timeout)
            }
            other => other,
        }
    }

    /// Whether the session itself is well, so that a failure has another reason.
    fn is_sound(&self) -> bool {
        locked(&self.chair).as_ref().is_some_and(|session| is_logged_in(session).unwrap_or(false))
    }

    /// After a panic nothing that is remembered can be relied on.
    pub(crate) fn disturbed(&mut self) -> Fault {
        self.leave();
        Fault::Internal
    }

    /// Closes the session.
    pub(crate) fn leave(&mut self) {
        self.objects.clear();
        self.keks = None;
        // Loaded keys go with the session.
        self.loaded.clear();
        if let Some(session) = locked(&self.chair).take() {
            let _ = session.close();
        }
    }

    /// Forgets every object's handle; keys that were loaded are unloaded.
    pub(crate) fn forget(&mut self, session: &Session) {
        self.objects.clear();
        self.keks = None;
        objects::discard(session, &self.loaded.clear());
    }

    fn forget_all(&mut self) {
        let chair = self.chair.clone();
        if let Some(session) = &*locked(&chair) {
            self.forget(session);
        }
    }

    /// The session, opened and logged in if it is not.
    fn settle<'a>(&mut self, module: &Module, place: &'a mut Option<Session>) -> Outcome<&'a Session> {
        if self.epoch != module.epoch {
            // The sessions of an earlier epoch went with it, and so did their objects.
            self.loaded.clear();
            self.objects.clear();
            self.keks = None;
            self.epoch = module.epoch;
        }
        let session = match place.take() {
            Some(session) => session,
            None => self.hall.session(module)?,
        };
        let session = &*place.insert(session);
        let changes = self.hall.changes();
        if self.changes != changes {
            self.forget(session);
            self.changes = changes;
        }
        Ok(session)
    }

    /// The private or secret object of a key that lives in the token.
    pub(crate) fn private(&mut self, session: &Session, key: &KeyRef) -> Outcome<ObjectHandle> {
        if let Some(object) = self.objects.get(key) {
            return Ok(*object);
        }
        let found = objects::find_key(session, key, Some(objects::class_of(key.spec)))?;
        match objects::only(&found, "private key")? {
            Some(object) => {
                if self.objects.len() >= REMEMBERED {
                    self.objects.clear();
                }
                self.objects.insert(*key, object);
                Ok(object)
            }
            // Without a login a token hides its private objects.
            None if !is_logged_in(session)? => Err(Trouble::Lost("the login is gone".to_owned())),
            None => Err(Fault::Missing.into()),
        }
    }

    /// The object that computes for a key, which is loaded for that if need be.
    pub(crate) fn usable(&mut self, session: &Session, key: &KeyRef, handle: &[u8]) -> Outcome<ObjectHandle> {
        match Handle::read(key, handle)? {
            Handle::Device { .. } => self.private(session, key),
            Handle::Wrapped(wrapped) => self.loaded_key(session, key, handle, &wrapped),
            Handle::Seed(_) => Err(Fault::WrongSpec(key.spec).into()),
        }
    }

    /// Where a key of this sort can be made to live.
    pub(crate) fn check_place(&self, key: &KeyRef, make: Make) -> Outcome<()> {
        let fits = match (make.residence, key.spec) {
            (Residence::Device, KeySpec::Bip32Seed) => self.plan.hd == HdMode::InDevice,
            (Residence::WorkerMemory, KeySpec::Bip32Seed) => self.plan.hd == HdMode::Sealed,
            (Residence::Device, spec) => self.plan.device.contains(&spec),
            (Residence::DeviceWrapped, spec) => self.plan.wrapped.contains(&spec),
            _ => false,
        };
        if fits && make.transferable && !self.can_leave(key.spec) {
            return Err(Fault::Unsupported(format!("make {} keys that can leave it", key.spec)).into());
        }
        if fits {
            return Ok(());
        }
        Err(Fault::Unsupported(format!("hold {} keys as {}", key.spec, make.residence)).into())
    }

    fn perform(&mut self, session: &Session, module: &Module, op: &Op<'_>, again: bool) -> Outcome<Reply> {
        match *op {
            Op::Health => self.health(session, module),
            Op::Generate { ref key, make } => self.generate(session, key, make, again).map(Reply::Key),
            Op::Import { ref key, make, secret } => {
                let made = self.import(session, key, make, secret, again);
                scrub_deep();
                made.map(Reply::Key)
            }
            Op::ImportPhrase { ref key, make, phrase, passphrase } => {
                let made = self.import_phrase(session, key, make, phrase, passphrase);
                scrub_deep();
                made.map(Reply::Key)
            }
            Op::Sign { ref key, handle, ref path, how, message } => {
                self.sign(session, key, handle, path, how, message).map(Reply::Bytes)
            }
            Op::Derive { ref key, handle, ref path } => self.derive(session, key, handle, path),
            Op::Encrypt { ref key, handle, aad, plaintext } => {
                self.encrypt(session, key, handle, aad, plaintext).map(Reply::Bytes)
            }
            Op::Decrypt { ref key, handle, aad, ciphertext } => {
                self.decrypt(session, key, handle, aad, ciphertext).map(Reply::Bytes)
            }
            Op::Destroy { ref key, handle } => self.destroy(session, key, handle, again),
            Op::Inventory => self.inventory(session, again).map(Reply::Held),
            Op::Offer { ref key, now_ms } => self.offer(session, key, now_ms),
            Op::TransferOut { ref key, handle, public } => {
                let wrapped = self.transfer_out(session, key, handle, public);
                scrub_deep();
                wrapped.map(Reply::Bytes)
            }
            Op::TransferIn { ref key, make, ticket, wrapped } => {
                let made = self.transfer_in(session, key, make, ticket, wrapped, again);
                scrub_deep();
                made.map(Reply::Key)
            }
            Op::Keks => self.kek_generations(session).map(Reply::Keks),
            Op::RotateKek => self.rotate_kek(session).map(Reply::Keks),
            Op::Rewrap { ref key, handle } => {
                let handle = self.rewrap(session, key, handle);
                scrub_deep();
                handle.map(Reply::Rewrapped)
            }
            Op::RetireKek { generation } => self.retire_kek(session, generation).map(Reply::Keks),
            Op::Attest { ref key, handle } => self.attest(session, module, key, handle).map(Reply::Claims),
        }
    }

    /// A true round trip: the session's state, the token's flags, random bytes if the token makes any.
    fn health(&mut self, session: &Session, module: &Module) -> Outcome<Reply> {
        if !is_logged_in(session)? {
            return Err(Trouble::Lost("the login is gone".to_owned()));
        }
        let token = self.hall.token_info(module)?;
        let mut notes = Vec::new();
        if token.rng() {
            let mut random = [0; 16];
            session.generate_random_slice(&mut random)?;
            if random == [0; 16] {
                return Err(Fault::Unavailable("the token's random bytes are all zero".to_owned()).into());
            }
        }
        for (flag, note) in [
            (token.write_protected(), "the token is write protected"),
            (token.user_pin_count_low(), "a wrong PIN was tried on the token"),
            (token.user_pin_to_be_changed(), "the PIN has to be changed"),
        ] {
            if flag {
                notes.push(note);
            }
        }
        Ok(Reply::Words(notes.join("; ")))
    }
}

/// A context for curve arithmetic, blinded anew now and then: the second line against side channels, behind the
/// library's constant-time arithmetic.
pub(crate) struct Curve {
    secp: Secp256k1<All>,
    uses: u32,
}

impl Default for Curve {
    fn default() -> Self {
        Self { secp: Secp256k1::new(), uses: 0 }
    }
}

/// Signatures between two blindings.
const BLIND_EVERY: u32 = 4096;

impl Curve {
    pub(crate) fn secp(&mut self) -> Outcome<&Secp256k1<All>> {
        if self.uses.is_multiple_of(BLIND_EVERY) {
            let mut seed = zeroize::Zeroizing::new([0; 32]);
            super::seal::random(seed.as_mut())?;
            self.secp.seeded_randomize(&seed);
        }
        self.uses = self.uses.wrapping_add(1);
        Ok(&self.secp)
    }
}

/// Overwrites the stack that curve work has used: its types are `Copy` and leave traces that nothing wipes.
#[inline(never)]
pub(crate) fn scrub() {
    let mut stack = [0u8; 64 * 1024];
    black_box(&mut stack);
}

/// Overwrites the deeper stack of imports and transfers.
#[inline(never)]
pub(crate) fn scrub_deep() {
    let mut stack = [0u8; 512 * 1024];
    black_box(&mut stack);
}
