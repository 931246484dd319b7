//! Identifiers: made of randomness by us, never chosen by a client.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is not a valid identifier or room name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// An identifier is 24 lowercase hexadecimal digits.
    #[error("an id is 24 lowercase hexadecimal digits")]
    NotHex,
    /// A room name follows the rule of DNS labels.
    #[error("a room name is 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends")]
    RoomName,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 12]);

        impl $name {
            /// An identifier from 96 bits of randomness.
            pub const fn from_random(bytes: [u8; 12]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Hex::of(&self.0).as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(Hex::of(&self.0).as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// One visitor. Hexadecimal keeps the order of the bytes, so ties sort alike here and in a sorted set.
    VisitorId
}
id! {
    /// One ticket: a visitor who comes back for a second session does so with a second ticket.
    TicketId
}
id! {
    /// One running edge process.
    NodeId
}
id! {
    /// One life of a store: a store that lost its data starts another.
    Incarnation
}

/// The text of an identifier, made at once: each forwarded request and each token carries some.
struct Hex([u8; 24]);

impl Hex {
    fn of(bytes: &[u8; 12]) -> Self {
        let mut text = [0; 24];
        // Two bytes at a time as an array: as slices each pair would be a call of `memmove`.
        let (pairs, _) = text.as_chunks_mut();
        for (pair, byte) in pairs.iter_mut().zip(bytes) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The digit of a `nibble` below 16, without a branch that randomness would mispredict.
const fn digit(nibble: u8) -> u8 {
    nibble + b'0' + (nibble > 9) as u8 * (b'a' - b'0' - 10)
}

fn parse_hex(text: &str) -> Result<[u8; 12], IdError> {
    let mut bytes = [0; 12];
    if text.len() != 24 {
        return Err(IdError::NotHex);
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = pair else {
            return Err(IdError::NotHex);
        };
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Result<u8, IdError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(IdError::NotHex),
    }
}

/// The name of a room: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(std::sync::Arc<str>);

impl RoomName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoomName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let ends_well = |c: Option<char>| c.is_some_and(|c| c != '-');
        let valid = text.len() <= 63
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && ends_well(text.chars().next())
            && ends_well(text.chars().last());
        if valid { Ok(Self(text.into())) } else { Err(IdError::RoomName) }
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RoomName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RoomName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text_and_sorts_like_it() {
        let low = VisitorId::from_random([0x0f; 12]);
        let high = VisitorId::from_random([0xa0; 12]);
        assert_eq!(low.to_string().parse(), Ok(low));
        assert!(low < high && low.to_string() < high.to_string());
    }

    #[test]
    fn an_id_is_written_byte_by_byte_in_lowercase_hexadecimal() {
        for start in (0..=u8::MAX).step_by(12) {
            let bytes = std::array::from_fn(|index| start.wrapping_add(index as u8));
            let expected = bytes.map(|byte| format!("{byte:02x}")).concat();
            let id = VisitorId::from_random(bytes);
            assert_eq!(id.to_string(), expected);
            assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{expected}\""));
        }
    }

    #[test]
    fn an_id_of_another_shape_is_refused() {
        for text in
            ["", "0f", "0F0F0F0F0F0F0F0F0F0F0F0F", "zz0f0f0f0f0f0f0f0f0f0f0f", "ä0f0f0f0f0f0f0f0f0f0f0"]
        {
            assert_eq!(text.parse::<VisitorId>(), Err(IdError::NotHex), "{text}");
        }
    }

    #[test]
    fn a_room_name_is_a_dns_label() {
        for good in ["a", "e1", "summer-sale-2026"] {
            assert!(good.parse::<RoomName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", &"a".repeat(64)] {
            assert!(bad.parse::<RoomName>().is_err(), "{bad}");
        }
    }
}
