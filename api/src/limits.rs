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

use crate::{
    config::Limits,
    error::{ApiError, ApiResult, Code},
    gate::CountedFor,
};

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

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rate {
    Predict,
    Schema,
    Reload,
    General,
    /// A viewer fetches images one by one.
    Unlimited,
}

impl Rate {
    pub(crate) fn of(route: &str) -> Self {
        match route {
            "/predict"
            | "/api/v1/predict"
            | "/api/ml/predict"
            | "/ml/v1/predict"
            | "/predict/ct_classification"
            | "/v1/predict/ct_classification"
            | "/predict/mri_segmentation/async"
            | "/api/v1/m1/inference"
            | "/api/v1/mg/inference"
            | "/api/v1/mm/inference"
            | "/v1/models/{id}/predict" => Self::Predict,
            "/schema" | "/api/ml/schema" | "/v1/models/{id}/schema" => Self::Schema,
            "/reload" | "/api/v1/retrain" | "/api/ml/reload" | "/ml/v1/retrain" | "/v1/models/reload" => {
                Self::Reload
            }
            _ if route.starts_with("/api/orthanc/") => Self::Unlimited,
            _ => Self::General,
        }
    }
}

/// The limits of one caller, each rate with a count of its own.
#[derive(Debug)]
pub(crate) struct Rates {
    predict: PerMinute<CountedFor>,
    schema: PerMinute<CountedFor>,
    reload: PerMinute<CountedFor>,
    general: PerMinute<CountedFor>,
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            predict: PerMinute::new(limits.predicts_per_minute),
            schema: PerMinute::new(limits.schemas_per_minute),
            reload: PerMinute::new(limits.reloads_per_minute),
            general: PerMinute::new(limits.requests_per_minute),
        }
    }

    pub(crate) fn take(&self, rate: Rate, caller: &CountedFor) -> ApiResult<()> {
        match rate {
            Rate::Predict => self.predict.take(caller),
            Rate::Schema => self.schema.take(caller),
            Rate::Reload => self.reload.take(caller),
            Rate::General => self.general.take(caller),
            Rate::Unlimited => Ok(()),
        }
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
