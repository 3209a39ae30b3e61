//! The time that decisions are made by; tests move it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use ledger::Millis;

/// Tells the time. Clones tell the same.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    /// The system's time plus so many milliseconds.
    Ahead(Arc<AtomicI64>),
}

impl Clock {
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that starts with the system's time and can be moved.
    #[must_use]
    pub fn movable() -> Self {
        Self(Source::Ahead(Arc::default()))
    }

    #[must_use]
    pub fn now(&self) -> Millis {
        match &self.0 {
            Source::System => Millis::now(),
            Source::Ahead(ahead) => Millis(Millis::now().0 + ahead.load(Ordering::SeqCst)),
        }
    }

    /// Moves a movable clock on; the system's time does not move.
    pub fn advance(&self, by: Duration) {
        if let Source::Ahead(ahead) = &self.0 {
            ahead.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Clock")
    }
}
