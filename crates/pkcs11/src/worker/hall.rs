//! What all sessions of a worker share: the module, the login, the plan.

use std::{
    ffi::{CStr, CString, c_void},
    path::Path,
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anya_provider::KeySpec;
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error as CkError, RvError},
    mechanism::MechanismType,
    session::{Session, SessionState, UserType},
    slot::{Slot, TokenInfo},
    types::AuthPin,
};
use cryptoki_sys::CKM_VENDOR_DEFINED;

use crate::{
    config::{TokenSelector, UserKind},
    plan::Plan,
    profile::Profile,
    wire::{Fault, Greeting},
    worker::trouble::{Outcome, Trouble},
};

/// The least time between two restarts of the module: a device that is away is not helped by more.
const RESTART: Duration = Duration::from_millis(250);

/// The pauses between the starts of a module that does not show the token. Together they outlast another process that
/// was taken off its processor while it wrote to the token.
const START_PAUSES: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(15), Duration::from_millis(45)];

/// A module that has been initialised, and where its token is.
pub(crate) struct Module {
    pub(crate) pkcs11: Pkcs11,
    pub(crate) slot: Option<Slot>,
    /// Counts initialisations, and losses of all sessions: one of an earlier epoch is no more, and its number may be
    /// another's by now.
    pub(crate) epoch: u64,
    started: Instant,
    /// Whether anything has succeeded since.
    served: AtomicBool,
}

impl Module {
    /// Notes that the module works.
    pub(crate) fn serves(&self) {
        if !self.served.load(Ordering::Relaxed) {
            self.served.store(true, Ordering::Relaxed);
        }
    }
}

/// A session, while there is one.
pub(crate) type Chair = Arc<Mutex<Option<Session>>>;

/// See the module's description.
pub(crate) struct Hall {
    pub(crate) profile: Profile,
    plan: Mutex<Plan>,
    token: TokenSelector,
    user: UserType,
    pin: AuthPin,
    arguments: Option<CString>,
    module: RwLock<Module>,
    /// Where each thread's session is. A thread holds the lock of its own while it works.
    chairs: Mutex<Vec<Chair>>,
    /// Why the token refused the PIN. It is never tried again.
    refused: Mutex<Option<String>>,
    /// Counts events that make what sessions remember of objects worthless.
    changes: AtomicU64,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hall {
    pub(crate) fn open(greeting: &Greeting<'_>) -> Result<Self, Fault> {
        let arguments = greeting.arguments.map(CString::new).transpose();
        let arguments =
            arguments.map_err(|_| Fault::Unavailable("initialize_args: it holds a zero byte".to_owned()))?;
        let pkcs11 = Pkcs11::new(Path::new(greeting.module)).map_err(|error| match error {
            CkError::Pkcs11(..) => Trouble::from(error).into_fault(),
            other => Fault::Unavailable(format!("{} is no PKCS#11 module: {other}", greeting.module)),
        })?;
        let slot = start(&pkcs11, arguments.as_deref(), &greeting.token)?;
        let plan = resolve(&greeting.profile, &pkcs11, slot);
        Ok(Self {
            plan: Mutex::new(plan),
            profile: greeting.profile.clone(),
            token: greeting.token.clone(),
            user: match greeting.user {
                UserKind::User => UserType::User,
                UserKind::Vendor(number) => UserType::VendorExtension(number),
            },
            pin: AuthPin::new(greeting.pin.into()),
            arguments,
            module: RwLock::new(Module {
                pkcs11,
                slot: Some(slot),
                epoch: 1,
                started: Instant::now(),
                served: AtomicBool::new(false),
            }),
            chairs: Mutex::default(),
            refused: Mutex::new(None),
            changes: AtomicU64::new(0),
        })
    }

    pub(crate) fn plan(&self) -> Plan {
        locked(&self.plan).clone()
    }

    /// Takes sorts of keys out of the plan that were tried and found wanting.
    pub(crate) fn retain(&self, keep: impl Fn(KeySpec) -> bool) {
        locked(&self.plan).retain(keep);
    }

    /// The module. While the guard lives it is not restarted.
    pub(crate) fn module(&self) -> RwLockReadGuard<'_, Module> {
        self.module.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more chair.
    pub(crate) fn chair(&self) -> Chair {
        let chair = Chair::default();
        locked(&self.chairs).push(chair.clone());
        chair
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Has every session forget the objects it knows.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Opens a session and logs it in.
    pub(crate) fn session(&self, module: &Module) -> Outcome<Session> {
        let Some(slot) = module.slot else { return Err(Trouble::Gone(absent(&self.token))) };
        // Never closed by being dropped: after a restart its number may be another session's.
        let session = if self.profile.read_write {
            module.pkcs11.open_rw_session_no_drop(slot)
        } else {
            module.pkcs11.open_ro_session_no_drop(slot)
        }?;
        match self.log_in(module, slot, &session) {
            Ok(()) => Ok(session),
            Err(trouble) => {
                let _ = session.close();
                Err(trouble)
            }
        }
    }

    /// Logs in, unless another session of this process has: a login counts for all of them.
    fn log_in(&self, module: &Module, slot: Slot, session: &Session) -> Outcome<()> {
        let mut refused = locked(&self.refused);
        if is_logged_in(session)? {
            return Ok(());
        }
        if let Some(reason) = &*refused {
            return Err(Fault::Credential(reason.clone()).into());
        }
        let token = module.pkcs11.get_token_info(slot)?;
        let outcome = if token.user_pin_locked() {
            Err(CkError::Pkcs11(RvError::PinLocked, cryptoki::context::Function::Login))
        } else if token.user_pin_final_try() {
            let reason = "one more wrong PIN would lock the token, so this one is not tried: log in once with the \
                          vendor's tool to prove it";
            *refused = Some(reason.to_owned());
            return Err(Fault::Credential(reason.to_owned()).into());
        } else {
            session.login(self.user, Some(&self.pin))
        };
        match outcome {
            Ok(()) | Err(CkError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let trouble = Trouble::from(error);
                if let Trouble::Fault(Fault::Credential(reason)) = &trouble {
                    *refused = Some(reason.clone());
                }
                Err(trouble)
            }
        }
    }

    /// Closes every session, unless that was done since `epoch`.
    ///
    /// When a module says that a session's handle is not valid, it may give its number to the next session that is
    /// opened, while another thread still takes the number for its own. So no session is opened before every thread
    /// has let go of its own.
    pub(crate) fn clear(&self, epoch: u64) {
        let mut module = self.module.write().unwrap_or_else(PoisonError::into_inner);
        if module.epoch == epoch {
            module.epoch += 1;
            for chair in &*locked(&self.chairs) {
                if let Some(session) = locked(chair).take() {
                    let _ = session.close();
                }
            }
        }
    }

    /// Finalizes and initialises the module again, unless that was done since `epoch`: some modules find a token that
    /// came back, or make their channel to the device anew, in no other way.
    pub(crate) fn restart(&self, epoch: u64, why: &Trouble) -> Outcome<()> {
        self.start_anew(epoch, Some(why))
    }

    /// At once, or, if there is a reason, not sooner than [`RESTART`] after a start that did not help.
    fn start_anew(&self, epoch: u64, why: Option<&Trouble>) -> Outcome<()> {
        let mut module = self.module.write().unwrap_or_else(PoisonError::into_inner);
        if module.epoch != epoch {
            return Ok(());
        }
        // One that has worked since its last start is worth another.
        let worked = module.served.swap(false, Ordering::Relaxed);
        if let Some(why) = why
            && !worked
            && module.started.elapsed() < RESTART
        {
            return Err(Trouble::Gone(format!("{why}, and again after the module was started anew")));
        }
        module.started = Instant::now();
        module.epoch += 1;
        module.slot = None;
        // Before the module ends, because afterwards their numbers are other sessions'; and each by itself, because
        // Yubico's module leaves the device's sessions open when it ends with any.
        for session in locked(&self.chairs).iter().filter_map(|chair| locked(chair).take()) {
            let _ = session.close();
        }
        let _ = module.pkcs11.clone().finalize();
        module.slot = Some(start(&module.pkcs11, self.arguments.as_deref(), &self.token)?);
        Ok(())
    }

    /// Starts the module anew because an object may have been overlooked. The profile says for which modules that is
    /// worth its price; it is paid each time, because one that was made a moment ago is the likeliest to be missed.
    pub(crate) fn refresh(&self, epoch: u64) -> Outcome<()> {
        self.start_anew(epoch, None)
    }

    /// What the token says of itself.
    pub(crate) fn token_info(&self, module: &Module) -> Outcome<TokenInfo> {
        let Some(slot) = module.slot else { return Err(Trouble::Gone(absent(&self.token))) };
        Ok(module.pkcs11.get_token_info(slot)?)
    }

    /// Lets go of the module.
    pub(crate) fn leave(&self) {
        let module = self.module.write().unwrap_or_else(PoisonError::into_inner);
        let _ = module.pkcs11.clone().finalize();
    }
}

/// Whether the session's state is that of a user who is logged in.
pub(crate) fn is_logged_in(session: &Session) -> Outcome<bool> {
    let state = session.get_session_info()?.session_state();
    Ok(matches!(state, SessionState::RoUser | SessionState::RwUser))
}

fn initialize(pkcs11: &Pkcs11, arguments: Option<&CStr>) -> Result<(), Fault> {
    let flags = CInitializeFlags::OS_LOCKING_OK;
    let arguments = match arguments {
        None => CInitializeArgs::new(flags),
        Some(text) => {
            #[expect(unsafe_code, reason = "C_Initialize takes a vendor's string by a pointer")]
            // SAFETY: the string ends with a zero byte and outlives the call, and the module only reads it.
            unsafe {
                let pointer = NonNull::from(text).cast::<c_void>();
                CInitializeArgs::new_with_reserved(flags, pointer)
            }
        }
    };
    match pkcs11.initialize(arguments) {
        Ok(()) | Err(CkError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => Err(Trouble::from(error).into_fault()),
    }
}

/// Initialises the module and finds the token. Tried a few times: a token that another process is just writing to is not
/// readable for a moment. SoftHSM2 writes to a token at each login.
fn start(pkcs11: &Pkcs11, arguments: Option<&CStr>, token: &TokenSelector) -> Result<Slot, Fault> {
    let mut pauses = START_PAUSES.iter();
    loop {
        initialize(pkcs11, arguments)?;
        let found = find_slot(pkcs11, token);
        if let Ok(Some(slot)) = found {
            return Ok(slot);
        }
        let Some(pause) = pauses.next() else {
            return Err(found.err().unwrap_or_else(|| Fault::Unavailable(absent(token))));
        };
        let _ = pkcs11.clone().finalize();
        thread::sleep(*pause);
    }
}

fn find_slot(pkcs11: &Pkcs11, token: &TokenSelector) -> Result<Option<Slot>, Fault> {
    let slots = pkcs11.get_slots_with_token().map_err(|error| Trouble::from(error).into_fault())?;
    let mut found = None;
    for slot in slots {
        // A slot whose token cannot be read is not ours.
        let Ok(info) = pkcs11.get_token_info(slot) else { continue };
        let ours = match token {
            TokenSelector::Label(label) => info.label().trim() == label.trim(),
            TokenSelector::Serial(serial) => info.serial_number().trim() == serial.trim(),
        };
        if ours && found.replace(slot).is_some() {
            return Err(Fault::Unavailable(format!("{}: name it by its serial number", several(token))));
        }
    }
    Ok(found)
}

fn named(token: &TokenSelector) -> String {
    match token {
        TokenSelector::Label(label) => format!("labelled `{label}`"),
        TokenSelector::Serial(serial) => format!("with serial number {serial}"),
    }
}

fn absent(token: &TokenSelector) -> String {
    format!("the module shows no token {}", named(token))
}

fn several(token: &TokenSelector) -> String {
    format!("the module shows several tokens {}", named(token))
}

fn resolve(profile: &Profile, pkcs11: &Pkcs11, slot: Slot) -> Plan {
    Plan::resolve(profile, |code| {
        let mechanism = if code >= CKM_VENDOR_DEFINED {
            MechanismType::new_vendor_defined(code)
        } else {
            MechanismType::try_from(code)
        };
        mechanism.is_ok_and(|mechanism| pkcs11.get_mechanism_info(slot, mechanism).is_ok())
    })
}
