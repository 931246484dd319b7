//! Instants, as numbers that the caller brings.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};

/// An instant of the store's clock: microseconds since the Unix epoch. Stays below 2^53 (until the year 2255), so
/// a double of Lua or of a sorted set holds it exactly. Arithmetic saturates: a hostile value cannot overflow.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    pub const ZERO: Self = Self(0);

    /// The instant as whole seconds since the epoch, rounded down (the unit of `exp` in a JWT).
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in UTC with milliseconds, as the wire shows it.
    pub fn to_rfc3339(self) -> String {
        // A time far beyond any calendar is clamped to the last that the format can carry.
        let shown = self.0.min(253_402_300_799_999_999);
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_micros(shown)).to_string()
    }

    /// Reads RFC 3339 with a `Z` zone.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        humantime::parse_rfc3339(text).ok().map(Self::from)
    }
}

impl From<SystemTime> for Micros {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, as_micros))
    }
}

impl Add<Duration> for Micros {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(as_micros(span)))
    }
}

impl Sub<Duration> for Micros {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(as_micros(span)))
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}µs", self.0)
    }
}

/// A span as whole microseconds; saturates.
pub fn as_micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// For `#[serde(serialize_with)]`: an instant as RFC 3339 text.
pub fn as_rfc3339<S: Serializer>(instant: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&instant.to_rfc3339())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_and_read_as_rfc_3339() {
        let instant = Micros(1_767_225_600_250_000);
        assert_eq!(instant.to_rfc3339(), "2026-01-01T00:00:00.250Z");
        assert_eq!(Micros::from_rfc3339("2026-01-01T00:00:00.250Z"), Some(instant));
        assert_eq!(Micros::from_rfc3339("tomorrow"), None);
    }

    #[test]
    fn hostile_instants_saturate() {
        assert_eq!(Micros(u64::MAX) + Duration::from_secs(1), Micros(u64::MAX));
        assert_eq!(Micros(1) - Duration::from_secs(1), Micros::ZERO);
        assert_eq!(Micros(1).since(Micros(2)), Duration::ZERO);
        assert!(Micros(u64::MAX).to_rfc3339().starts_with("9999-12-31"));
    }
}
