//! Time: UTC instants of millisecond precision, and the clock that hands them out.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// An instant in UTC with millisecond precision.
///
/// Stored as milliseconds since the Unix epoch; written in APIs and logs as RFC 3339 with three decimals and `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// A time that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an RFC 3339 time such as 2026-11-23T08:00:00Z")]
pub struct ParseTimestampError;

impl Timestamp {
    /// The instant `millis` milliseconds after the Unix epoch, or `None` outside the years -9999 to 9999.
    pub fn from_millis(millis: i64) -> Option<Self> {
        jiff::Timestamp::from_millisecond(millis).ok().map(|_| Self(millis))
    }

    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The instant `span` later; the last representable one where that would overflow.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let sum = self.0.saturating_add(millis);
        Self::from_millis(sum).unwrap_or(Self(jiff::Timestamp::MAX.as_millisecond()))
    }

    /// The instant `span` earlier; the first representable one where that would overflow.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let difference = self.0.saturating_sub(millis);
        Self::from_millis(difference).unwrap_or(Self(jiff::Timestamp::MIN.as_millisecond()))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The same instant in the `jiff` library's type, for calendar arithmetic.
    pub fn to_jiff(self) -> jiff::Timestamp {
        // Every constructor checked the range.
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.to_jiff())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>().map(|at| Self(at.as_millisecond())).map_err(|_| ParseTimestampError)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = ParseTimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> Self {
        at.to_string()
    }
}

/// Where the time comes from. Everything that decides by time takes a clock, so that tests can move it.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where time enters")]
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_and_milliseconds_agree(millis in -1_000_000_000_000i64..4_000_000_000_000) {
            let at = Timestamp::from_millis(millis).unwrap();
            prop_assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        }

        #[test]
        fn arithmetic_saturates(millis in any::<i64>(), span in any::<u64>()) {
            if let Some(at) = Timestamp::from_millis(millis) {
                let span = Duration::from_millis(span);
                prop_assert!(at.saturating_add(span) >= at);
                prop_assert!(at.saturating_sub(span) <= at);
            }
        }
    }

    #[test]
    fn written_with_three_decimals() {
        assert_eq!(Timestamp::from_millis(1_000).unwrap().to_string(), "1970-01-01T00:00:01.000Z");
    }
}
