//! How long to wait before something that may pass is tried again.

use std::time::Duration;

/// Doubles from `first` to `longest`, each time up to a fifth shorter, so that many
/// things that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

impl Backoff {
    /// The wait after the `failures`-th failure in a row (counted from 1). `spread` is any
    /// number; the same number gives the same wait.
    #[must_use]
    pub fn after(self, failures: u32, spread: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        full - full / 5 * u32::try_from(spread % 1000).unwrap_or(0) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(3600) };

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<u64> = (1..=14).map(|failures| BACKOFF.after(failures, 0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]);
        assert_eq!(BACKOFF.after(u32::MAX, 0), BACKOFF.longest);
    }

    #[test]
    fn the_spread_shortens_by_at_most_a_fifth() {
        for spread in [1, 17, 999, u64::MAX] {
            let wait = BACKOFF.after(20, spread);
            assert!(wait <= BACKOFF.longest && wait >= BACKOFF.longest * 4 / 5, "{wait:?}");
        }
    }
}
