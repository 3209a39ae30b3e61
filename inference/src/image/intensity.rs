//! Applies the intensity steps of a channel to its voxels.

use rayon::prelude::*;

use super::rank::percentile;
use crate::package::{Intensity, Over};

/// Sums are taken over blocks of this many voxels and then in order: the same for any number of threads.
const BLOCK: usize = 1 << 16;

/// Applies `steps` in their order.
pub(crate) fn apply(steps: &[Intensity], voxels: &mut [f32]) {
    for step in steps {
        apply_step(step, voxels);
    }
}

fn apply_step(step: &Intensity, voxels: &mut [f32]) {
    match *step {
        Intensity::Window { center, width } => {
            let low = center - width / 2.0;
            change(voxels, Over::All, |value| ((value - low) / width).clamp(0.0, 1.0));
        }
        Intensity::Clip { min, max } => change(voxels, Over::All, |value| value.clamp(min, max)),
        Intensity::PercentileClip { low, high, over } => {
            let bound = |percent| percentile(voxels, |value| counts(value, over), percent);
            if let (Some(min), Some(max)) = (bound(low), bound(high)) {
                change(voxels, over, |value| value.clamp(min, max));
            }
        }
        Intensity::ZScore { over } => {
            if let Some((mean, sd)) = mean_and_sd(voxels, over) {
                // A constant image becomes 0, as in MONAI.
                let sd = if sd == 0.0 { 1.0 } else { sd };
                change(voxels, over, |value| (value - mean) / sd);
            }
        }
        Intensity::MinMax { over } => {
            let bound = |percent| percentile(voxels, |value| counts(value, over), percent);
            if let (Some(min), Some(max)) = (bound(0.0), bound(100.0)) {
                let range = if max > min { max - min } else { 1.0 };
                change(voxels, over, |value| (value - min) / range);
            }
        }
        Intensity::Scale { subtract, divide } => {
            change(voxels, Over::All, |value| (value - subtract) / divide);
        }
    }
}

fn counts(value: f32, over: Over) -> bool {
    over == Over::All || value != 0.0
}

fn change(voxels: &mut [f32], over: Over, step: impl Fn(f64) -> f64 + Sync) {
    voxels.par_chunks_mut(BLOCK).for_each(|block| {
        for voxel in block.iter_mut().filter(|voxel| counts(**voxel, over)) {
            *voxel = step(f64::from(*voxel)) as f32;
        }
    });
}

/// Mean and population standard deviation, none of nothing.
fn mean_and_sd(voxels: &[f32], over: Over) -> Option<(f64, f64)> {
    let sum = |term: &(dyn Fn(f64) -> f64 + Sync)| -> f64 {
        let of_block = |block: &[f32]| -> f64 {
            block.iter().filter(|value| counts(**value, over)).map(|value| term(f64::from(*value))).sum()
        };
        voxels.par_chunks(BLOCK).map(of_block).collect::<Vec<_>>().iter().sum()
    };
    let count = sum(&|_| 1.0);
    if count == 0.0 {
        return None;
    }
    let mean = sum(&|value| value) / count;
    let variance = sum(&|value| (value - mean) * (value - mean)) / count;
    Some((mean, variance.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(step: Intensity, voxels: &[f32], expected: &[f32]) {
        let mut changed = voxels.to_vec();
        apply(&[step], &mut changed);
        for (found, expected) in changed.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{changed:?}");
        }
    }

    #[test]
    fn steps_do_what_the_documentation_says() {
        check(
            Intensity::Window { center: 40.0, width: 80.0 },
            &[-10.0, 0.0, 20.0, 80.0, 99.0],
            &[0.0, 0.0, 0.25, 1.0, 1.0],
        );
        check(Intensity::Clip { min: -1.0, max: 2.0 }, &[-3.0, 0.0, 3.0], &[-1.0, 0.0, 2.0]);
        check(Intensity::Scale { subtract: 1.0, divide: 2.0 }, &[5.0], &[2.0]);
        check(Intensity::MinMax { over: Over::All }, &[1.0, 3.0, 5.0], &[0.0, 0.5, 1.0]);
        let over = Over::All;
        check(
            Intensity::PercentileClip { low: 25.0, high: 75.0, over },
            &[0.0, 1.0, 2.0, 3.0, 4.0],
            &[1.0, 1.0, 2.0, 3.0, 3.0],
        );
    }

    #[test]
    fn zeros_are_neither_counted_nor_changed_over_nonzero() {
        check(Intensity::ZScore { over: Over::Nonzero }, &[0.0, 2.0, 4.0, 0.0], &[0.0, -1.0, 1.0, 0.0]);
        check(Intensity::ZScore { over: Over::Nonzero }, &[0.0, 0.0], &[0.0, 0.0]);
        check(Intensity::ZScore { over: Over::All }, &[7.0, 7.0], &[0.0, 0.0]);
    }

    #[track_caller]
    fn check_reference(step: Intensity, name: &str, tolerance: f32) {
        let read = |name: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
            crate::npy::read(&path).unwrap().iter().map(|value| *value as f32).collect::<Vec<_>>()
        };
        let mut voxels = read("volume.npy");
        apply(&[step], &mut voxels);
        let differences = voxels.iter().zip(read(name)).map(|(one, other)| (one - other).abs());
        let largest = differences.fold(0.0, f32::max);
        assert!(largest <= tolerance, "{largest}");
    }

    #[test]
    fn statistics_are_those_of_numpy() {
        check_reference(Intensity::ZScore { over: Over::Nonzero }, "zscore.npy", 1e-6);
        let over = Over::Nonzero;
        check_reference(Intensity::PercentileClip { low: 2.0, high: 97.0, over }, "percentile.npy", 1e-5);
    }
}
