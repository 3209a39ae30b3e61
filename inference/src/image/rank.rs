//! Order statistics of many numbers without a copy of them.
//!
//! A float's bits, with the sign turned, sort as the number does; two passes over
//! 16 bits each find the k-th smallest exactly.

use rayon::prelude::*;

/// The percentile `percent` (0 … 100) of the numbers that `counted` accepts, linear between
/// neighbours as `numpy.percentile`; none when there is none.
pub(crate) fn percentile(numbers: &[f32], counted: impl Fn(f32) -> bool + Sync, percent: f64) -> Option<f64> {
    let count = numbers.par_iter().filter(|number| counted(**number)).count();
    let place = (count.checked_sub(1)? as f64) * percent / 100.0;
    let low = place.floor();
    let first = smallest(numbers, &counted, low as usize)?;
    if place == low {
        return Some(f64::from(first));
    }
    let second = smallest(numbers, &counted, low as usize + 1)?;
    Some(f64::from(first) + (f64::from(second) - f64::from(first)) * (place - low))
}

/// Unsigned bits that sort as the numbers do.
fn sortable(number: f32) -> u32 {
    let bits = number.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn unsortable(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
}

/// The `rank`-th smallest (from 0) of the counted numbers.
fn smallest(numbers: &[f32], counted: &(impl Fn(f32) -> bool + Sync), rank: usize) -> Option<f32> {
    let bits = || numbers.iter().filter(|number| counted(**number)).map(|number| sortable(*number));
    let (high, before) = bin(bits().map(|bits| bits >> 16), rank)?;
    let (low, _) = bin(bits().filter(|bits| bits >> 16 == high).map(|bits| bits & 0xffff), rank - before)?;
    Some(unsortable(high << 16 | low))
}

/// The bin that holds the `rank`-th value, and how many lie before it.
fn bin(values: impl Iterator<Item = u32>, rank: usize) -> Option<(u32, usize)> {
    let mut histogram = vec![0_usize; 1 << 16];
    values.for_each(|value| histogram[value as usize] += 1);
    let mut before = 0;
    for (value, count) in (0_u32..).zip(histogram) {
        if before + count > rank {
            return Some((value, before));
        }
        before += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_numbers(numbers in proptest::collection::vec(-1e4..1e4_f32, 1..300), percent in 0.0..100.0_f64) {
            let mut sorted = numbers.clone();
            sorted.sort_by(f32::total_cmp);
            let place = (sorted.len() - 1) as f64 * percent / 100.0;
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            let expected = f64::from(low) + (f64::from(high) - f64::from(low)) * place.fract();
            let found = percentile(&numbers, |_| true, percent).unwrap();
            prop_assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn of_nothing_there_is_no_percentile() {
        assert_eq!(percentile(&[0.0, 0.0], |number| number != 0.0, 50.0), None);
        assert_eq!(percentile(&[-0.5, 0.0, 7.0], |number| number != 0.0, 100.0), Some(7.0));
    }
}
