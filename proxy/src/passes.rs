//! Passes that were verified before: a signature costs tens of microseconds, a look here a small part of one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use room::queue::Session;
use room::time::Micros;
use room::token::{KeyRing, Pass, TokenError};

/// Each with a lock of its own, so that cores seldom meet.
const SHARDS: usize = 16;
/// Passes of one generation; two generations are kept, so memory is bounded whatever comes.
const GENERATION: usize = 50_000;

/// Verified passes by their text. Only good ones are kept: a flood of forged ones cannot push them out.
#[derive(Debug, Default)]
pub struct PassCache {
    shards: [RwLock<Generations>; SHARDS],
}

/// A pass with the text that says it.
#[derive(Debug, Clone)]
pub struct Verified {
    pub pass: Arc<Pass>,
    pub token: Arc<str>,
}

type Known = HashMap<Arc<str>, Arc<Pass>, BuildHasherDefault<BySignature>>;

#[derive(Debug, Default)]
struct Generations {
    young: Known,
    old: Known,
}

impl PassCache {
    /// The pass of a token that was verified before; its expiry is compared each time.
    pub fn recall(&self, token: &str, now: Micros) -> Option<Result<Verified, TokenError>> {
        let known = self.find(token)?;
        let in_time = now < Micros::from_secs(known.pass.expires_at_secs);
        Some(if in_time { Ok(known) } else { Err(TokenError::Expired) })
    }

    /// Verifies a token, and remembers it if it is good.
    pub fn verify(&self, ring: &KeyRing, token: &str, now: Micros) -> Result<Verified, TokenError> {
        let verified = Verified { pass: Arc::new(ring.pass(token, now)?), token: token.into() };
        self.keep(verified.clone());
        Ok(verified)
    }

    fn find(&self, token: &str) -> Option<Verified> {
        let generations = self.shard(token)?.read().unwrap_or_else(PoisonError::into_inner);
        let (token, pass) =
            generations.young.get_key_value(token).or_else(|| generations.old.get_key_value(token))?;
        Some(Verified { pass: Arc::clone(pass), token: Arc::clone(token) })
    }

    fn keep(&self, Verified { pass, token }: Verified) {
        let Some(shard) = self.shard(&token) else { return };
        let mut generations = shard.write().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= GENERATION / SHARDS {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(token, pass);
    }

    fn shard(&self, token: &str) -> Option<&RwLock<Generations>> {
        let mut hasher = BySignature::default();
        hasher.write(token.as_bytes());
        // The table inside takes the other end of the hash.
        self.shards.get((hasher.finish() >> 32) as usize % SHARDS)
    }
}

/// Reads the end of a token, which is part of its signature: as good as drawn by lot, and nobody can choose it. What
/// is looked up and not known was made by anybody, but it is not kept.
#[derive(Debug, Default)]
struct BySignature(u64);

impl Hasher for BySignature {
    fn write(&mut self, bytes: &[u8]) {
        let (_, end) = bytes.split_at(bytes.len().saturating_sub(16));
        for part in end.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.0 = (self.0.rotate_left(29) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// A text is hashed as its bytes and one that ends it.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// A session as its pass has it.
pub fn session_of(pass: &Pass) -> Session {
    Session { ends: Micros::from_secs(pass.expires_at_secs), cap: Micros::from_secs(pass.hard_cap_secs) }
}

#[cfg(test)]
mod tests {
    use room::ids::{Incarnation, TicketId, VisitorId};
    use room::token::{Alg, Key, Kind, Use};

    use super::*;

    const NOW: Micros = Micros(1_767_225_600_000_000);

    fn ring() -> KeyRing {
        let key = |kid: &str, kind, alg, secret: u8| Key {
            kid: kid.into(),
            kind,
            alg,
            secret: vec![secret; 32],
            use_: Use::Sign,
        };
        KeyRing::new(&[key("t", Kind::Ticket, Alg::Hs256, 1), key("p", Kind::Pass, Alg::EdDsa, 2)]).unwrap()
    }

    fn token(ring: &KeyRing, visitor: u8) -> String {
        ring.sign_pass(&Pass {
            room: "e1".parse().unwrap(),
            visitor: VisitorId::from_random([visitor; 12]),
            ticket: TicketId::from_random([visitor; 12]),
            expires_at_secs: NOW.as_secs() + 60,
            hard_cap_secs: NOW.as_secs() + 60,
            incarnation: Incarnation::from_random([3; 12]),
            granted_secs: None,
        })
    }

    #[test]
    fn a_pass_is_known_once_it_was_verified_and_until_it_ends() {
        let (cache, ring) = (PassCache::default(), ring());
        let token = token(&ring, 1);
        assert!(cache.recall(&token, NOW).is_none());
        let verified = cache.verify(&ring, &token, NOW).unwrap();
        let known = cache.recall(&token, NOW).unwrap().unwrap();
        assert_eq!((&known.pass, &*known.token), (&verified.pass, token.as_str()));
        let later = Micros::from_secs(NOW.as_secs() + 60);
        assert_eq!(cache.recall(&token, later).unwrap().err(), Some(TokenError::Expired));
    }

    #[test]
    fn a_forgery_with_a_signature_that_is_known_is_not_known() {
        let (cache, ring) = (PassCache::default(), ring());
        let (mine, other) = (token(&ring, 1), token(&ring, 2));
        cache.verify(&ring, &mine, NOW).unwrap();
        let (claims, _) = other.rsplit_once('.').unwrap();
        let (_, signature) = mine.rsplit_once('.').unwrap();
        let forged = format!("{claims}.{signature}");
        assert!(cache.recall(&forged, NOW).is_none());
        assert!(cache.verify(&ring, &forged, NOW).is_err());
        assert!(cache.recall(&forged, NOW).is_none(), "what is not good is not kept");
    }

    #[test]
    fn memory_is_bounded_and_what_was_used_lately_stays() {
        let cache = PassCache::default();
        let pass = Arc::new(ring().pass(&token(&ring(), 1), NOW).unwrap());
        let text = |number: usize| -> Arc<str> {
            format!("{:064x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into()
        };
        for number in 0..3 * GENERATION {
            cache.keep(Verified { pass: Arc::clone(&pass), token: text(number) });
        }
        let kept =
            |shard: &RwLock<Generations>| shard.read().unwrap().young.len() + shard.read().unwrap().old.len();
        let all: usize = cache.shards.iter().map(kept).sum();
        assert!((GENERATION..=2 * GENERATION).contains(&all), "{all}");
        assert!(cache.find(&text(3 * GENERATION - 1)).is_some() && cache.find(&text(0)).is_none());
        let least = cache.shards.iter().map(kept).min().unwrap();
        assert!(least > GENERATION / SHARDS / 2, "the shards share evenly: {least}");
    }
}
