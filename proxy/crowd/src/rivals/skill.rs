//! How fast a rival is.

use std::f64::consts::TAU;
use std::str::FromStr;
use std::time::Duration;

/// From 0, somebody who reads first, to 100, a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skill(u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a skill is a whole number from 0 to 100")]
pub struct SkillError;

/// The usual reaction at skill 0, in seconds …
const SLOWEST: f64 = 4.0;
/// … and at skill 100.
const FASTEST: f64 = 0.25;
/// Of the logarithm of a reaction: two of three lie between 0.7 and 1.4 times the usual one.
const SPREAD: f64 = 0.35;
/// Nobody is slower than this, whatever the dice say.
const LONGEST: f64 = 60.0;

impl Skill {
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Half of all reactions are faster. Equal steps of skill are equal ratios of time.
    pub fn median(self) -> Duration {
        Duration::from_secs_f64(self.median_secs())
    }

    /// One reaction: log-normal, because people are now and then much slower, and never much faster, than usual.
    pub fn reaction(self, dice: &mut fastrand::Rng) -> Duration {
        // Box and Muller; 1 - u is never 0.
        let normal = (-2.0 * (1.0 - dice.f64()).ln()).sqrt() * (TAU * dice.f64()).cos();
        Duration::from_secs_f64((self.median_secs() * (SPREAD * normal).exp()).min(LONGEST))
    }

    fn median_secs(self) -> f64 {
        SLOWEST * (FASTEST / SLOWEST).powf(f64::from(self.0) / 100.0)
    }
}

impl FromStr for Skill {
    type Err = SkillError;

    fn from_str(text: &str) -> Result<Self, SkillError> {
        let skill = text.parse().map_err(|_| SkillError)?;
        if skill <= 100 { Ok(Self(skill)) } else { Err(SkillError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skill_is_a_number_up_to_100() {
        assert_eq!("100".parse(), Ok(Skill(100)));
        for bad in ["101", "-1", "fast", "", "256"] {
            assert_eq!(bad.parse::<Skill>(), Err(SkillError), "{bad}");
        }
    }

    #[test]
    fn the_median_goes_from_four_seconds_to_a_quarter() {
        assert_eq!(Skill(0).median(), Duration::from_secs(4));
        assert_eq!(Skill(50).median(), Duration::from_secs(1));
        assert_eq!(Skill(100).median(), Duration::from_millis(250));
    }

    #[test]
    fn reactions_are_spread_around_the_median_as_the_distribution_says() {
        for skill in [0, 60, 100].map(Skill) {
            let mut dice = fastrand::Rng::with_seed(7);
            let reactions: Vec<Duration> = (0..10_000).map(|_| skill.reaction(&mut dice)).collect();
            let below = |limit: Duration| reactions.iter().filter(|reaction| **reaction < limit).count();
            let median = skill.median();
            assert!((4800..5200).contains(&below(median)), "{}", below(median));
            // One and two times the spread: 84 % and 97.7 %.
            assert!((8250..8600).contains(&below(median.mul_f64(0.35_f64.exp()))));
            assert!((9700..9850).contains(&below(median.mul_f64(0.7_f64.exp()))));
        }
    }
}
