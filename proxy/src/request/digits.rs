//! Numbers in heads.

/// The longest number of 64 bits.
const MOST: usize = 20;

/// A number in decimal digits.
pub(crate) struct Digits {
    digits: [u8; MOST],
    first: usize,
}

impl Digits {
    pub(crate) fn of(mut number: u64) -> Self {
        let mut made = Self { digits: [b'0'; MOST], first: MOST };
        for digit in made.digits.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
            made.first -= 1;
            if number == 0 {
                break;
            }
        }
        made
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.first..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_everybody_writes_it() {
        for number in [0, 7, 10, 99, 100, 65_536, u64::MAX - 1, u64::MAX] {
            assert_eq!(Digits::of(number).as_bytes(), number.to_string().as_bytes());
        }
    }
}
