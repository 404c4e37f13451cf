//! The module's side: every call is counted, struck by the faults that concern it, and forwarded.

mod attributes;
pub(crate) mod bip32;
mod exports;
mod forward;
mod keys;
mod objects;
mod rsa_aes;
mod sign;
mod slots;
mod template;

use std::{
    collections::HashMap,
    env,
    ffi::{CStr, OsStr},
    fs::OpenOptions,
    io::Write,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cryptoki_sys::{
    CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_REMOVED,
    CKR_GENERAL_ERROR, CKR_TOKEN_NOT_PRESENT,
};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use self::forward::{Forward, forward};
use crate::{
    chaos::{TRACE, lock},
    fault::{FaultId, FaultKind, WrongAnswer},
    function::Function,
    personality::{Personality, Quirks},
    plan::{Plan, Planned},
    shared::Shared,
};

const DEFAULT_FORWARD: &str = "/usr/lib/softhsm/libsofthsm2.so";

static MODULE: OnceLock<Module> = OnceLock::new();

/// The module as it is in this process.
struct Module {
    forward: Forward,
    control: Option<Control>,
    plan: RwLock<Arc<Plan>>,
    /// What the environment says of the personality.
    personality: Option<Personality>,
    /// Ordinary calls share it; who pulls sessions away from under them holds it alone, because the module that is
    /// forwarded to need not endure that in the midst of a call.
    gate: RwLock<()>,
    seen_removals: AtomicU64,
    sessions: Mutex<HashMap<CK_SESSION_HANDLE, Note>>,
    /// New token keys, and since when they are there.
    fresh: Mutex<HashMap<CK_OBJECT_HANDLE, Instant>>,
    /// Points of private keys on which nothing can be written.
    points: Mutex<HashMap<CK_OBJECT_HANDLE, Vec<u8>>>,
    constants: Mutex<HashMap<FaultId, Vec<u8>>>,
}

struct Control {
    dir: PathBuf,
    shared: Shared,
}

/// What is remembered of a session.
#[derive(Clone, Debug, Default)]
struct Note {
    slot: CK_SLOT_ID,
    read_only: bool,
    signing: Option<sign::Signing>,
    /// Whether the search is for BIP32 keys only, or for others only.
    bip32_only: Option<bool>,
}

/// What a call is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Library,
    Slot(CK_SLOT_ID),
    Session(CK_SESSION_HANDLE),
}

/// What was decided about a call that is forwarded.
struct Verdict {
    plan: Arc<Plan>,
    personality: Personality,
    quirks: &'static Quirks,
    /// The return value of a call that is not to succeed.
    answer: Option<CK_RV>,
    late: Duration,
    wrong: Option<(FaultId, WrongAnswer)>,
    full: Option<Planned>,
    forget: bool,
    hide: Vec<u64>,
    claim: Vec<u64>,
    pin_tries: Option<u32>,
}

impl Verdict {
    /// Whether a new object's template goes on as it came.
    fn alters_nothing(&self) -> bool {
        self.personality == Personality::Plain && self.full.is_none()
    }
}

/// Loads the module to forward to, at the first `C_Initialize`.
fn load() -> Result<&'static Module, CK_RV> {
    if let Some(module) = MODULE.get() {
        return Ok(module);
    }
    let module = Module::load()?;
    Ok(MODULE.get_or_init(|| module))
}

/// Runs one call.
fn call(
    function: Function,
    scope: Scope,
    sizing: bool,
    body: impl FnOnce(&Module, &Verdict) -> CK_RV,
) -> CK_RV {
    MODULE.get().map_or(CKR_CRYPTOKI_NOT_INITIALIZED, |module| module.run(function, scope, sizing, body))
}

impl Module {
    fn load() -> Result<Self, CK_RV> {
        let dir = env::var_os("ANYA_CHAOS_CONTROL").map(PathBuf::from).or_else(own_folder);
        let control = match dir {
            Some(dir) => {
                let shared = Shared::open(&dir).map_err(|_| CKR_GENERAL_ERROR)?;
                Some(Control { dir, shared })
            }
            None => None,
        };
        let plan = match &control {
            Some(control) => Plan::read(&control.dir).map_err(|_| CKR_GENERAL_ERROR)?.unwrap_or_default(),
            None => Plan { quorum_ms: 150, ..Plan::default() },
        };
        for (name, value) in &plan.env {
            // SAFETY: once per process, while the application waits for `C_Initialize`, as modules that are
            // configured by the environment expect.
            unsafe { env::set_var(name, value) };
        }
        let forward = env::var_os("ANYA_CHAOS_FORWARD")
            .or_else(|| plan.forward.clone().map(Into::into))
            .unwrap_or_else(|| DEFAULT_FORWARD.into());
        let personality = match env::var("ANYA_CHAOS_PERSONALITY") {
            Ok(name) => Some(name.parse().map_err(|()| CKR_GENERAL_ERROR)?),
            Err(_) => None,
        };
        let removals = control.as_ref().map_or(0, |control| control.shared.removals());
        Ok(Self {
            forward: Forward::load(Path::new(&forward))?,
            control,
            plan: RwLock::new(Arc::new(plan)),
            personality,
            gate: RwLock::new(()),
            seen_removals: AtomicU64::new(removals),
            sessions: Mutex::default(),
            fresh: Mutex::default(),
            points: Mutex::default(),
            constants: Mutex::default(),
        })
    }

    fn run(
        &self,
        function: Function,
        scope: Scope,
        sizing: bool,
        body: impl FnOnce(&Self, &Verdict) -> CK_RV,
    ) -> CK_RV {
        let plan = self.plan();
        if let (false, Some(control)) = (sizing, &self.control) {
            control.shared.count_call(function);
        }
        self.bury_sessions();
        if plan.token_removed() {
            match scope {
                Scope::Session(_) => return CKR_DEVICE_REMOVED,
                Scope::Slot(_) if function != Function::GetSlotInfo => return CKR_TOKEN_NOT_PRESENT,
                Scope::Slot(_) | Scope::Library => (),
            }
        }
        let verdict = self.judge(plan, function, scope, sizing);
        if let Some(rv) = verdict.answer {
            if ends_operation(function) {
                let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
                body(self, &verdict);
            }
            return rv;
        }
        let rv = if function == Function::WaitForSlotEvent {
            body(self, &verdict)
        } else {
            let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            body(self, &verdict)
        };
        if verdict.plan.trace {
            self.write_down(function, sizing, rv);
        }
        if !verdict.late.is_zero() {
            thread::sleep(verdict.late);
        }
        rv
    }

    fn write_down(&self, function: Function, sizing: bool, rv: CK_RV) {
        let Some(control) = &self.control else { return };
        let line =
            format!("{} {function} {rv:#x}{}\n", std::process::id(), if sizing { " (length)" } else { "" });
        let file = OpenOptions::new().append(true).create(true).open(control.dir.join(TRACE));
        // A trace that cannot be written is missed where it is read.
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }

    /// Does to the call what comes before it is forwarded, and tells what comes after.
    fn judge(&self, plan: Arc<Plan>, function: Function, scope: Scope, sizing: bool) -> Verdict {
        let personality = self.personality.unwrap_or(plan.personality);
        let mut verdict = Verdict {
            plan: Arc::clone(&plan),
            personality,
            quirks: personality.quirks(),
            answer: None,
            late: Duration::ZERO,
            wrong: None,
            full: None,
            forget: false,
            hide: Vec::new(),
            claim: Vec::new(),
            pin_tries: None,
        };
        let Some(control) = self.control.as_ref().filter(|_| !sizing) else {
            return verdict;
        };
        for planned in &plan.faults {
            let Planned { id, slot, fault } = planned;
            let concerned = match fault.kind.own_functions() {
                Some(functions) => functions.contains(&function),
                None => fault.target.covers(function),
            };
            if !concerned {
                continue;
            }
            if fault.kind == FaultKind::TokenFull {
                verdict.full = Some(planned.clone());
                continue;
            }
            if !control.shared.strikes(*slot, *id, fault) {
                continue;
            }
            match &fault.kind {
                FaultKind::Latency { ms, jitter_ms } => {
                    let jitter = Duration::from_millis(*jitter_ms).mul_f64(control.shared.uniform());
                    thread::sleep(Duration::from_millis(*ms) + jitter);
                }
                FaultKind::Late { ms } => verdict.late = Duration::from_millis(*ms),
                FaultKind::Hang => loop {
                    thread::sleep(Duration::from_secs(3600));
                },
                FaultKind::Segfault => fault_memory(),
                FaultKind::Abort => std::process::abort(),
                FaultKind::Return(rv) => verdict.answer = Some(*rv),
                FaultKind::InvalidateSessions => self.close_sessions(scope),
                FaultKind::LogOut => self.log_out(scope),
                FaultKind::Wrong(answer) => verdict.wrong = Some((*id, *answer)),
                FaultKind::Forget => verdict.forget = true,
                FaultKind::Mechanisms { hide, claim } => {
                    verdict.hide.extend(hide);
                    verdict.claim.extend(claim);
                }
                FaultKind::LockPinAfter { tries } => verdict.pin_tries = Some(*tries),
                FaultKind::RemoveToken | FaultKind::TokenFull => (),
            }
        }
        verdict
    }

    /// The plan as it stands now.
    fn plan(&self) -> Arc<Plan> {
        let known = Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner));
        let Some(control) = &self.control else { return known };
        if known.generation == control.shared.generation() {
            return known;
        }
        let Ok(Some(plan)) = Plan::read(&control.dir) else { return known };
        let plan = Arc::new(plan);
        let mut current = self.plan.write().unwrap_or_else(PoisonError::into_inner);
        if plan.generation > current.generation {
            *current = Arc::clone(&plan);
        }
        Arc::clone(&current)
    }

    /// Whether a fault that a function judges by itself harms this call.
    fn strikes(&self, planned: &Planned) -> bool {
        let Planned { id, slot, fault } = planned;
        self.control.as_ref().is_some_and(|control| control.shared.strikes(*slot, *id, fault))
    }

    /// How often in a row the PIN was wrong; counted only where somebody can read it.
    fn wrong_pins(&self) -> Option<&AtomicU64> {
        self.control.as_ref().map(|control| control.shared.wrong_pins())
    }

    /// Closes every session once the token was out, even if it is back already.
    fn bury_sessions(&self) {
        let Some(control) = &self.control else { return };
        if control.shared.removals() == self.seen_removals.load(Ordering::SeqCst) {
            return;
        }
        let alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let removals = control.shared.removals();
        if self.seen_removals.swap(removals, Ordering::SeqCst) != removals {
            self.close_in_slots(&self.slots());
        }
        drop(alone);
    }

    fn close_sessions(&self, scope: Scope) {
        let alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        match self.slot_of(scope) {
            Some(slot) => self.close_in_slots(&[slot]),
            None => self.close_in_slots(&self.slots()),
        }
        drop(alone);
    }

    fn close_in_slots(&self, slots: &[CK_SLOT_ID]) {
        for slot in slots {
            forward!(self, C_CloseAllSessions(*slot));
        }
        lock(&self.sessions).retain(|_, note| !slots.contains(&note.slot));
    }

    fn log_out(&self, scope: Scope) {
        let alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let slot = self.slot_of(scope);
        let sessions: Vec<_> = lock(&self.sessions)
            .iter()
            .filter(|(_, note)| slot.is_none_or(|slot| slot == note.slot))
            .map(|(session, _)| *session)
            .collect();
        for session in sessions {
            forward!(self, C_Logout(session));
        }
        drop(alone);
    }

    fn slot_of(&self, scope: Scope) -> Option<CK_SLOT_ID> {
        match scope {
            Scope::Library => None,
            Scope::Slot(slot) => Some(slot),
            Scope::Session(session) => lock(&self.sessions).get(&session).map(|note| note.slot),
        }
    }

    /// Slots in which sessions are open.
    fn slots(&self) -> Vec<CK_SLOT_ID> {
        let mut slots: Vec<_> = lock(&self.sessions).values().map(|note| note.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    fn note(&self, session: CK_SESSION_HANDLE) -> Note {
        lock(&self.sessions).get(&session).cloned().unwrap_or_default()
    }

    fn amend(&self, session: CK_SESSION_HANDLE, change: impl FnOnce(&mut Note)) {
        if let Some(note) = lock(&self.sessions).get_mut(&session) {
            change(note);
        }
    }
}

/// Whether a call ends what was begun in its session even when it fails (PKCS#11 v2.40, 5.2). The module that is
/// forwarded to has to hear of the end; what it computes for it is lost.
fn ends_operation(function: Function) -> bool {
    use Function::{
        Decrypt, DecryptFinal, Digest, DigestFinal, Encrypt, EncryptFinal, FindObjectsFinal, Sign, SignFinal,
        SignRecover, Verify, VerifyFinal, VerifyRecover,
    };
    matches!(
        function,
        Decrypt
            | DecryptFinal
            | Digest
            | DigestFinal
            | Encrypt
            | EncryptFinal
            | FindObjectsFinal
            | Sign
            | SignFinal
            | SignRecover
            | Verify
            | VerifyFinal
            | VerifyRecover
    )
}

/// Writes where nobody may, so that the kernel sends SIGSEGV.
fn fault_memory() {
    // SAFETY: a new page at an address of the kernel's choice; that it cannot be written is the purpose.
    unsafe {
        if let Ok(page) = mmap_anonymous(std::ptr::null_mut(), 4096, ProtFlags::empty(), MapFlags::PRIVATE) {
            page.cast::<u8>().write_volatile(1);
        }
    }
}

/// The folder that this library was loaded from, if it is a control folder.
fn own_folder() -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the address is one of this library's functions, and `info` is written where the answer is not zero.
    let path = unsafe {
        if libc::dladdr(own_folder as *const libc::c_void, info.as_mut_ptr()) == 0 {
            return None;
        }
        let name = info.assume_init().dli_fname;
        if name.is_null() {
            return None;
        }
        PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name).to_bytes()))
    };
    let folder = path.parent()?.to_owned();
    Plan::read(&folder).ok().flatten().map(|_| folder)
}
