//! The states of a key (NIST SP 800-57 part 1, revision 5, section 7), and what each allows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Made, and not yet to be used.
    PreActivation,
    /// In use: it signs, encrypts and decrypts.
    Active,
    /// Out of use for now; it may become active again.
    Suspended,
    /// Its time is over: it protects nothing new, and still decrypts what it protected.
    Deactivated,
    /// Someone else may have its private part: it does nothing any more.
    Compromised,
    /// Its private part has been erased. There is no way back.
    Destroyed,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::PreActivation,
        Self::Active,
        Self::Suspended,
        Self::Deactivated,
        Self::Compromised,
        Self::Destroyed,
    ];

    /// The name in API and ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreActivation => "pre-activation",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }

    /// Whether a key in this state may go over to `next`.
    ///
    /// SP 800-57 also lets an active key be destroyed; here it is first taken out of use, so that the step without
    /// return is never the first one.
    pub fn may_become(self, next: Self) -> bool {
        use KeyState as S;
        matches!(
            (self, next),
            (S::PreActivation, S::Active | S::Compromised | S::Destroyed)
                | (S::Active, S::Suspended | S::Deactivated | S::Compromised)
                | (S::Suspended, S::Active | S::Deactivated | S::Compromised | S::Destroyed)
                | (S::Deactivated, S::Compromised | S::Destroyed)
                | (S::Compromised, S::Destroyed)
        )
    }

    /// Whether it may sign and encrypt.
    pub fn protects(self) -> bool {
        self == Self::Active
    }

    /// Whether it may decrypt what it once protected.
    pub fn opens(self) -> bool {
        matches!(self, Self::Active | Self::Deactivated)
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::invalid("state", format!("use one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_back_from_the_end_and_nothing_goes_there_at_once() {
        for from in KeyState::ALL {
            assert!(!from.may_become(from), "{from}");
            assert!(!from.may_become(KeyState::PreActivation), "{from}");
            assert!(!KeyState::Destroyed.may_become(from), "{from}");
            assert_eq!(KeyState::Compromised.may_become(from), from == KeyState::Destroyed, "{from}");
        }
        assert!(!KeyState::Active.may_become(KeyState::Destroyed));
        assert!(!KeyState::Deactivated.may_become(KeyState::Active));
    }

    #[test]
    fn every_state_reaches_destruction() {
        for from in KeyState::ALL {
            let mut reached = vec![from];
            let mut at = 0;
            while let Some(state) = reached.get(at).copied() {
                for next in KeyState::ALL {
                    if state.may_become(next) && !reached.contains(&next) {
                        reached.push(next);
                    }
                }
                at += 1;
            }
            assert!(reached.contains(&KeyState::Destroyed), "{from}");
        }
    }
}
