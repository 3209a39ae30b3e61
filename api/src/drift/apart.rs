//! How far two samples are apart. NaN is a missing value.

const PARTS: usize = 10;
/// A part that nobody falls into counts as this share, so that the index stays finite.
const SHARE_MIN: f64 = 1e-4;

/// Population stability index: the sum over parts of (p - q) ln(p / q), the parts being tenths of `before`, and what
/// is missing one more.
pub(super) fn psi(before: &[f64], after: &[f64]) -> f64 {
    let edges = edges(before);
    let (before, after) = (shares(before, &edges), shares(after, &edges));
    let of_part = |(before, after): (&f64, &f64)| {
        let (before, after) = (before.max(SHARE_MIN), after.max(SHARE_MIN));
        (after - before) * (after / before).ln()
    };
    before.iter().zip(&after).map(of_part).sum()
}

/// The inner edges of the tenths; equal ones are one.
fn edges(sample: &[f64]) -> Vec<f64> {
    let sorted = sorted(sample);
    if sorted.is_empty() {
        return Vec::new();
    }
    let mut edges: Vec<f64> = (1..PARTS).map(|part| sorted[part * sorted.len() / PARTS]).collect();
    edges.dedup();
    edges
}

/// The share of each part: up to the first edge, above it, …, and missing.
fn shares(sample: &[f64], edges: &[f64]) -> Vec<f64> {
    let mut counts = vec![0_usize; edges.len() + 2];
    for value in sample {
        let part = if value.is_nan() { edges.len() + 1 } else { edges.partition_point(|edge| edge < value) };
        counts[part] += 1;
    }
    let whole = sample.len().max(1) as f64;
    counts.into_iter().map(|count| count as f64 / whole).collect()
}

/// Two-sample Kolmogorov–Smirnov statistic of what is not missing; 0 when one side has nothing.
pub(super) fn ks(before: &[f64], after: &[f64]) -> f64 {
    let (before, after) = (sorted(before), sorted(after));
    if before.is_empty() || after.is_empty() {
        return 0.0;
    }
    let below =
        |sorted: &[f64], value: f64| sorted.partition_point(|one| *one <= value) as f64 / sorted.len() as f64;
    let distance = |value: &f64| (below(&before, *value) - below(&after, *value)).abs();
    before.iter().chain(&after).map(distance).fold(0.0, f64::max)
}

fn sorted(sample: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = sample.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(from: usize, to: usize) -> Vec<f64> {
        (from..to).map(|value| value as f64).collect()
    }

    #[test]
    fn the_same_is_not_apart_and_what_has_moved_is() {
        let sample = counted(0, 1000);
        assert_eq!((psi(&sample, &sample), ks(&sample, &sample)), (0.0, 0.0));
        let halves = counted(500, 1000);
        assert!((ks(&sample, &halves) - 0.5).abs() < 1e-12);
        assert!(psi(&sample, &halves) > 1.0);
        assert_eq!(ks(&sample, &counted(2000, 2100)), 1.0);
    }

    #[test]
    fn the_index_is_that_of_its_definition() {
        // Two parts: 0 for nine tenths of the first and half of the second sample.
        let before: Vec<f64> = (0..100).map(|at| f64::from(u8::from(at >= 90))).collect();
        let after: Vec<f64> = (0..100).map(|at| f64::from(u8::from(at >= 50))).collect();
        let (p, q) = ([0.9, 0.1], [0.5, 0.5]);
        let expected: f64 = p.iter().zip(&q).map(|(p, q): (&f64, &f64)| (q - p) * (q / p).ln()).sum();
        assert!((psi(&before, &after) - expected).abs() < 1e-9, "{}", psi(&before, &after));
    }

    #[test]
    fn what_goes_missing_is_another_population() {
        let sample = counted(0, 1000);
        let gaps: Vec<f64> =
            sample.iter().map(|value| if value % 3.0 == 0.0 { f64::NAN } else { *value }).collect();
        assert!(psi(&sample, &gaps) > 0.25);
        assert!(psi(&[], &sample).is_finite());
        assert_eq!(ks(&[f64::NAN], &sample), 0.0);
    }
}
