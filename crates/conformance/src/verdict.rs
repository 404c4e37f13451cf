//! How a case ends.

use std::fmt::Display;

use anya_provider::Error;

/// Why a case ended without having shown what it is for.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The provider did not do what it must.
    Failed(String),
    /// The provider does not declare what the case is about.
    NotApplicable {
        /// What it does not declare.
        because: String,
        /// What it answered when asked all the same.
        answered: Option<String>,
    },
    /// The caller lent nothing to do it with.
    NotExercised(String),
}

/// What a case found: a note, or why it stopped.
pub(crate) type Verdict = Result<Option<String>, Stop>;

/// The failure of a case.
pub(crate) fn fail<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Failed(reason.into()))
}

/// A case that is passed, with something to add.
#[allow(clippy::unnecessary_wraps, reason = "the last line of a case")]
pub(crate) fn passed(note: impl Into<String>) -> Verdict {
    Ok(Some(note.into()))
}

/// The failure unless `holds`.
pub(crate) fn must(holds: bool, reason: impl FnOnce() -> String) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(Stop::Failed(reason())) }
}

/// Refusals that fit one occasion.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// Of a handle that is not this key's.
    Handle,
    /// Of a request that no key of this sort can serve.
    Request,
    /// Of a secret that is no key.
    Secret,
    /// Of a ciphertext.
    Ciphertext,
    /// Of a wrapped key that was altered, or is for another.
    Wrapped,
    /// Of what is not declared.
    Undeclared,
    /// Of work after the deadline.
    Late,
    /// Of a key that must stay where it is.
    Confined,
}

impl Refusal {
    fn fits(self, error: &Error) -> bool {
        match self {
            Self::Handle => {
                matches!(error, Error::HandleDamaged | Error::Missing(_) | Error::Invalid { .. })
            }
            Self::Request => {
                matches!(
                    error,
                    Error::Invalid { .. }
                        | Error::WrongSpec { .. }
                        | Error::Unsupported { .. }
                        | Error::HandleDamaged
                        | Error::Missing(_)
                )
            }
            Self::Secret => matches!(error, Error::Invalid { .. } | Error::WrongSpec { .. }),
            Self::Ciphertext => matches!(error, Error::Decrypt | Error::Invalid { .. }),
            Self::Wrapped => {
                matches!(error, Error::HandleDamaged | Error::Invalid { .. } | Error::Decrypt)
            }
            Self::Undeclared => matches!(error, Error::Unsupported { .. }),
            Self::Late => matches!(error, Error::Timeout(_)),
            Self::Confined => matches!(error, Error::NotTransferable(_)),
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Handle => "a damaged or missing key",
            Self::Request => "a wrong request",
            Self::Secret => "a wrong secret",
            Self::Ciphertext => "a ciphertext that does not open",
            Self::Wrapped => "a wrapped key that does not open",
            Self::Undeclared => "`unsupported`",
            Self::Late => "a missed deadline",
            Self::Confined => "a key that is not transferable",
        }
    }

    /// The refusal in words, if `answer` is a fitting one.
    pub(crate) fn expect<T>(self, asked: impl Display, answer: Result<T, Error>) -> Result<String, Stop> {
        match answer {
            Ok(_) => fail(format!("{asked}: it was done, where a refusal was due ({})", self.wanted())),
            Err(error) if self.fits(&error) => Ok(error.to_string()),
            Err(error) => fail(format!("{asked}: refused, but not as {}: {error}", self.wanted())),
        }
    }
}
