//! Named seats: their ids, generated maps, and which seats are together. No IO.

use std::fmt;
use std::str::FromStr;

/// The largest map that is generated.
pub const MAX_SEATS: u32 = 50_000;
/// A map is generated from this many seats up; fewer stand in one row.
const SEATS_A_SECTION: u32 = 1000;
const MAX_SECTIONS: u32 = 26;

/// The id of a seat, unique in its event: 1 to 64 visible ASCII characters without a slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatId(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no seat")]
pub struct SeatIdError(String);

impl SeatId {
    pub const MAX_BYTES: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SeatId {
    type Err = SeatIdError;

    fn from_str(text: &str) -> Result<Self, SeatIdError> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        let fits = visible && (1..=Self::MAX_BYTES).contains(&text.len());
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(SeatIdError(text.chars().take(Self::MAX_BYTES).collect()))
        }
    }
}

impl fmt::Display for SeatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A seat of a generated map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSeat {
    /// SECTION-ROW-NUMBER
    pub id: String,
    pub section: String,
    pub row: String,
    pub number: i32,
    /// 0 is the best; neighbours of a row follow each other.
    pub rank: i32,
    pub price_minor: i32,
}

/// A map of `total` seats (at most [`MAX_SEATS`]): sections A, B, … from the stage to the back, each of rows 1, 2, …
/// of about twice as many seats as there are rows. The first section costs half as much again as `price_minor`, the
/// last half of it.
pub fn plan(total: u32, price_minor: i32) -> Vec<PlannedSeat> {
    let total = total.min(MAX_SEATS);
    let sections = total.div_ceil(SEATS_A_SECTION).clamp(1, MAX_SECTIONS).max(total.min(200) / 100);
    let a_section = total.div_ceil(sections.max(1)).max(1);
    let width = (a_section * 2).isqrt().clamp(1, 100);
    (0..total)
        .map(|index| {
            let (section, within) = (index / a_section, index % a_section);
            let (row, number) = (within / width + 1, within % width + 1);
            let letter = char::from(b'A' + (section % MAX_SECTIONS) as u8);
            PlannedSeat {
                id: format!("{letter}-{row}-{number}"),
                section: letter.into(),
                row: row.to_string(),
                number: number.cast_signed(),
                rank: index.cast_signed(),
                price_minor: price(price_minor, section, sections),
            }
        })
        .collect()
}

/// From 150 % in the first to 50 % in the last of several sections.
fn price(base: i32, section: u32, sections: u32) -> i32 {
    let percent = match sections {
        0 | 1 => 100,
        more => 150 - i64::from(section) * 100 / i64::from(more - 1),
    };
    i32::try_from(i64::from(base) * percent / 100).unwrap_or(i32::MAX)
}

/// A seat that could be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeSeat {
    pub id: String,
    pub section: String,
    pub row: String,
    pub number: i32,
    pub price_minor: i32,
}

/// Whether nobody else sits between these; they are in the order of their rank.
pub fn are_together(seats: &[FreeSeat]) -> bool {
    seats.iter().zip(seats.iter().skip(1)).all(|(left, right)| is_next(left, right))
}

/// The first `count` neighbours among seats in the order of their rank.
pub fn first_together(seats: &[FreeSeat], count: usize) -> Option<&[FreeSeat]> {
    seats.windows(count.max(1)).find(|run| are_together(run))
}

fn is_next(left: &FreeSeat, right: &FreeSeat) -> bool {
    left.section == right.section && left.row == right.row && left.number + 1 == right.number
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn maps_of_all_sizes_have_as_many_different_seats_as_asked_for() {
        for total in [1, 2, 49, 50, 51, 99, 100, 101, 200, 777, 2000, 9999, 26_000, 50_000] {
            let plan = plan(total, 5000);
            let ids: HashSet<&str> = plan.iter().map(|seat| seat.id.as_str()).collect();
            assert_eq!((plan.len(), ids.len()), (total as usize, total as usize));
            let sections: HashSet<&str> = plan.iter().map(|seat| seat.section.as_str()).collect();
            assert!(sections.len() <= 26 && (total < 200 || sections.len() > 1), "{total}: {sections:?}");
            assert!(plan.iter().all(|seat| seat.id.parse::<SeatId>().is_ok() && seat.number <= 100));
            assert!(plan.is_sorted_by_key(|seat| -seat.price_minor), "the best cost most");
        }
        assert_eq!(plan(u32::MAX, 5000).len(), 50_000);
    }

    #[test]
    fn prices_go_from_half_as_much_again_to_half() {
        let plan = plan(2000, 5000);
        assert_eq!((plan[0].price_minor, plan[1999].price_minor), (7500, 2500));
        assert_eq!(super::plan(50, 5000)[49].price_minor, 5000);
        assert_eq!(super::plan(2000, i32::MAX)[0].price_minor, i32::MAX);
    }

    #[test]
    fn neighbours_are_found_around_those_that_are_gone() {
        let seat = |row: &str, number| FreeSeat {
            id: format!("A-{row}-{number}"),
            section: "A".into(),
            row: row.into(),
            number,
            price_minor: 1,
        };
        let free = [seat("1", 1), seat("1", 3), seat("1", 10), seat("2", 11), seat("2", 12), seat("2", 13)];
        assert!(!are_together(&free[..2]));
        assert_eq!(first_together(&free, 2), Some(&free[3..5]));
        assert_eq!(first_together(&free, 3), Some(&free[3..]));
        assert_eq!(first_together(&free, 4), None);
        assert_eq!(first_together(&free, 1), Some(&free[..1]));
    }

    #[test]
    fn a_seat_id_fits_a_path() {
        for (text, fits) in [("A-1-2", true), ("", false), ("A/1", false), ("A 1", false), ("Ä", false)] {
            assert_eq!(text.parse::<SeatId>().is_ok(), fits, "{text:?}");
        }
        assert!("A".repeat(65).parse::<SeatId>().is_err());
    }
}
