//! A power law through some points.

/// `b` of cost ~ a · n^b, by least squares of the logarithms; 0 for fewer than two points.
pub(super) fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points
        .iter()
        .filter(|(n, cost)| *n > 0.0 && *cost > 0.0)
        .map(|(n, cost)| (n.ln(), cost.ln()))
        .collect();
    let count = logs.len().max(1) as f64;
    let (mean_n, mean_cost) =
        logs.iter().fold((0.0, 0.0), |(n, cost), log| (n + log.0 / count, cost + log.1 / count));
    let (mut along, mut square) = (0.0, 0.0);
    for (n, cost) in logs {
        along += (n - mean_n) * (cost - mean_cost);
        square += (n - mean_n).powi(2);
    }
    if square > 0.0 { along / square } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::exponent;

    fn is_near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn the_exponent_of_a_power_law_is_found_whatever_its_factor() {
        for b in [0.0, 0.5, 1.0, 2.0] {
            let points = [1e3, 1e4, 1e5, 1e6].map(|n: f64| (n, 7.5 * n.powf(b)));
            assert!(is_near(exponent(&points), b), "{b}");
        }
    }

    #[test]
    fn a_single_point_says_nothing_about_growth() {
        assert!(is_near(exponent(&[(5.0, 5.0)]), 0.0));
    }
}
