//! Which traces are kept.

/// Whatever changes something is kept; of what only reads, a share. Decided by the trace id, so that every program
/// comes to the same answer (W3C Trace Context level 2, "random trace id").
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// From 0 to 1.
    pub share: f64,
}

impl Default for Sampling {
    /// A tenth, as `OTEL_TRACES_SAMPLER_ARG` may say otherwise.
    fn default() -> Self {
        Self { share: 0.1 }
    }
}

impl Sampling {
    /// Whether a trace that begins with this request is kept.
    pub fn keeps(self, method: &http::Method, trace: [u8; 16]) -> bool {
        !method.is_safe() || self.has_luck(trace)
    }

    fn has_luck(self, trace: [u8; 16]) -> bool {
        let random = u128::from_be_bytes(trace) & ((1 << 56) - 1);
        // The greatest of these numbers is rounded up to 2^56.
        self.share >= 1.0 || (random as f64) < self.share * 2_f64.powi(56)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::Context;

    #[test]
    fn whatever_changes_something_is_kept() {
        let none = Sampling { share: 0.0 };
        for (method, kept) in
            [(Method::POST, true), (Method::DELETE, true), (Method::GET, false), (Method::HEAD, false)]
        {
            assert_eq!(none.keeps(&method, Context::begin(false).trace()), kept, "{method}");
        }
    }

    #[test]
    fn of_the_others_a_share_is_kept() {
        let kept = (0..4000_u64)
            .filter(|i| {
                let random = i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
                let mut trace = [7; 16];
                trace[8..].copy_from_slice(&random);
                Sampling::default().keeps(&Method::GET, trace)
            })
            .count();
        assert!((300..500).contains(&kept), "{kept} of 4000");
        assert!(Sampling { share: 1.0 }.keeps(&Method::GET, [0xff; 16]));
    }
}
