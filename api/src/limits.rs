//! How much one caller may ask for.
//!
//! Who has shown who he is, is limited by account or key, so that many people behind one
//! address do not share a limit; everybody else by address, so that a guesser of keys does
//! not get a fresh limit with each guess. The tables forget who has been quiet.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{Quota, RateLimiter, clock::Clock, clock::DefaultClock, state::keyed::DashMapStateStore};

use crate::error::{ApiError, ApiResult, Code};

const SWEEP_EVERY: u32 = 1024;

/// So many per minute and caller, and as many at once after a quiet minute.
pub(crate) struct PerMinute<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, DashMapStateStore<K>, DefaultClock>,
    clock: DefaultClock,
    seen: AtomicU32,
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for PerMinute<K> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PerMinute").field("callers", &self.limiter.len()).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone> PerMinute<K> {
    pub(crate) fn new(count: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::dashmap(Quota::per_minute(count)),
            clock: DefaultClock::default(),
            seen: AtomicU32::new(0),
        }
    }

    /// Counts one more for `caller`.
    pub(crate) fn take(&self, caller: &K) -> ApiResult<()> {
        if self.seen.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(caller).map_err(|wait| refusal(wait.wait_time_from(self.clock.now())))
    }
}

fn refusal(wait: Duration) -> ApiError {
    metrics::counter!("overread_http_rate_limited_total").increment(1);
    ApiError::because(Code::RateLimited, "wait for Retry-After seconds").retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_callers_excess_is_not_anothers() {
        let limit = PerMinute::new(NonZeroU32::new(3).unwrap());
        for _ in 0..3 {
            limit.take(&"a").unwrap();
        }
        assert_eq!(limit.take(&"a").unwrap_err().code(), Code::RateLimited);
        limit.take(&"b").unwrap();
    }
}
