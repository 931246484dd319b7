//! Passes that were verified before: a signature costs tens of microseconds, a look here less than one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use room::queue::Session;
use room::time::Micros;
use room::token::{KeyRing, Pass, TokenError};

/// Passes of one generation; two generations are kept, so memory is bounded whatever comes.
const GENERATION: usize = 50_000;

/// Verified passes by their text. Only good ones are kept: a flood of forged ones cannot push them out.
#[derive(Debug, Default)]
pub struct PassCache {
    generations: RwLock<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Box<str>, Arc<Pass>>,
    old: HashMap<Box<str>, Arc<Pass>>,
}

impl PassCache {
    /// The pass of a token that was verified before; its expiry is compared each time.
    pub fn recall(&self, token: &str, now: Micros) -> Option<Result<Pass, TokenError>> {
        let pass = self.find(token)?;
        let in_time = now < Micros::from_secs(pass.expires_at_secs);
        Some(if in_time { Ok(Pass::clone(&pass)) } else { Err(TokenError::Expired) })
    }

    /// Verifies a token, and remembers it if it is good.
    pub fn verify(&self, ring: &KeyRing, token: &str, now: Micros) -> Result<Pass, TokenError> {
        let pass = ring.pass(token, now)?;
        self.keep(token, pass.clone());
        Ok(pass)
    }

    fn find(&self, token: &str) -> Option<Arc<Pass>> {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        generations.young.get(token).or_else(|| generations.old.get(token)).cloned()
    }

    fn keep(&self, token: &str, pass: Pass) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(token.into(), Arc::new(pass));
    }
}

/// A session as its pass has it.
pub fn session_of(pass: &Pass) -> Session {
    Session { ends: Micros::from_secs(pass.expires_at_secs), cap: Micros::from_secs(pass.hard_cap_secs) }
}
