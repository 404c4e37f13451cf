//! What is done to a provider.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anya_pkcs11_chaos::{Fault, FaultKind, Function, WrongAnswer};
use rustix::process::{Pid, Signal, kill_process};

use crate::rig::Rig;

/// One way in which a device fails its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    /// The process that holds the module is killed.
    Killed,
    /// It is stopped: it neither works nor ends.
    Stopped,
    /// The token is pulled out.
    Removed,
    /// Every signature takes a quarter of a second longer.
    Slow,
    /// Every signature has a flipped bit.
    Wrong,
    /// Every session with the token is closed under its user.
    Lost,
}

/// Added to a signature by a device that is slow.
const SLOW: Duration = Duration::from_millis(250);

impl Harm {
    pub(crate) const ALL: [Self; 6] =
        [Self::Killed, Self::Stopped, Self::Removed, Self::Slow, Self::Wrong, Self::Lost];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Killed => "worker killed",
            Self::Stopped => "worker stopped",
            Self::Removed => "token removed",
            Self::Slow => "slow",
            Self::Wrong => "wrong answer",
            Self::Lost => "lost session",
        }
    }

    /// Does it to the provider at this place, until [`Harmed::heal`].
    pub(crate) fn inflict(self, rig: &Rig, at: usize) -> Harmed {
        let chaos = &rig.chaos[at];
        let pid = match self {
            Self::Killed => signal(rig, at, Signal::KILL),
            Self::Stopped => signal(rig, at, Signal::STOP).inspect(|pid| wait_until_stopped(*pid)),
            Self::Removed => set(chaos, Fault::everywhere(FaultKind::RemoveToken)),
            Self::Slow => set(chaos, Fault::on(Function::Sign, FaultKind::latency(SLOW))),
            Self::Wrong => set(chaos, Fault::wrong(WrongAnswer::FlipBit)),
            Self::Lost => set(chaos, Fault::on(Function::SignInit, FaultKind::InvalidateSessions).once()),
        };
        Harmed { at, stopped: pid.filter(|_| self == Self::Stopped) }
    }
}

fn set(chaos: &anya_pkcs11_chaos::Chaos, fault: Fault) -> Option<u32> {
    chaos.set(fault).unwrap();
    None
}

fn signal(rig: &Rig, at: usize, signal: Signal) -> Option<u32> {
    // None works for a moment after the last one was killed: then there is nobody to harm.
    let pid = rig.providers[at].worker_pid()?;
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
    Some(pid)
}

/// A provider that was harmed.
pub(crate) struct Harmed {
    pub(crate) at: usize,
    stopped: Option<u32>,
}

impl Harmed {
    /// Harms it no longer. A process that is stopped still goes on; most have been replaced by now.
    pub(crate) fn heal(&self, rig: &Rig) {
        rig.chaos[self.at].clear().unwrap();
        if let Some(pid) = self.stopped.filter(|pid| is_stopped(*pid)) {
            let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::CONT);
        }
    }
}

/// A process that is told to stop goes on until its threads are next scheduled: on a busy machine for so long that the
/// next fault, at the other provider, would find none that works.
fn wait_until_stopped(pid: u32) {
    let end = Instant::now() + Duration::from_secs(1);
    while !is_stopped(pid) && Instant::now() < end {
        thread::sleep(Duration::from_micros(100));
    }
}

/// Whether every thread of the process has stopped.
fn is_stopped(pid: u32) -> bool {
    let state = |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'));
    let stopped = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).is_ok_and(state);
    fs::read_dir(format!("/proc/{pid}/task"))
        .is_ok_and(|mut threads| threads.all(|thread| thread.is_ok_and(stopped)))
}
