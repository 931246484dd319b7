//! What visitors are called in a public ranking.

use sha2::{Digest as _, Sha256};

/// User ids that begin like this are bots that train people. A visitor of the waiting room has no such id, so behind an
/// edge nobody can be taken for one.
pub const RIVAL: &str = "rival-";

const LOOKS: [&str; 16] = [
    "Amber", "Brave", "Calm", "Clever", "Eager", "Gentle", "Golden", "Happy", "Lucky", "Merry", "Nimble",
    "Quiet", "Silver", "Sunny", "Swift", "Witty",
];
const ANIMALS: [&str; 16] = [
    "Badger", "Beaver", "Crane", "Dolphin", "Falcon", "Fox", "Hare", "Heron", "Lynx", "Marten", "Otter",
    "Owl", "Raven", "Robin", "Seal", "Swallow",
];

/// The name of a user among those of an event: `Swift Heron 42`, always the same, and too short to lead back to the id.
pub fn pseudonym(event_id: &str, user_id: &str) -> String {
    let digest = Sha256::new().chain_update(event_id).chain_update("\n").chain_update(user_id).finalize();
    let mut bytes = digest.iter().copied();
    let mut below = |end: usize| usize::from(bytes.next().unwrap_or_default()) % end;
    let (look, animal, number) = (below(LOOKS.len()), below(ANIMALS.len()), below(100));
    let look = LOOKS.get(look).filter(|_| !is_rival(user_id)).unwrap_or(&"Rival");
    let animal = ANIMALS.get(animal).unwrap_or(&"Owl");
    format!("{look} {animal} {number}")
}

pub fn is_rival(user_id: &str) -> bool {
    user_id.starts_with(RIVAL)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_user_has_one_name_an_event_and_not_the_id() {
        assert_eq!(pseudonym("e1", "ann"), pseudonym("e1", "ann"));
        assert_ne!(pseudonym("e1", "ann"), pseudonym("e2", "ann"));
        assert!(!pseudonym("e1", "ann").contains("ann"));
        let names: HashSet<String> = (0..1000).map(|user| pseudonym("e1", &format!("u{user}"))).collect();
        assert!(names.len() > 900, "{}", names.len());
    }

    #[test]
    fn rivals_are_called_so() {
        assert!(pseudonym("e1", "rival-7").starts_with("Rival "));
        assert!(!pseudonym("e1", "a-rival-7").starts_with("Rival "));
    }
}
