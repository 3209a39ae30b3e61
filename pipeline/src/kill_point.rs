//! Named places where a test can make the process die.
//!
//! Each stands right after a step of the flow that is durable. `OVERREAD_KILL_AT=name`
//! aborts the process when it first comes by, `OVERREAD_KILL_AT=name:3` the third time;
//! without the variable nothing happens. Nothing is flushed or cleaned up first: what a
//! restart finds is what a power button would have left.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// The variable that arms one of the points.
pub const KILL_AT_VARIABLE: &str = "OVERREAD_KILL_AT";

macro_rules! kill_points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// The places, in the order in which a study passes them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum KillPoint { $($(#[$doc])* $variant),+ }

        impl KillPoint {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

kill_points! {
    /// A study was looked at and what it waits for is written down.
    Looked = "looked",
    /// A job is in the queue.
    Enqueued = "enqueued",
    /// A worker holds the lease of a job.
    Claimed = "claimed",
    /// The model is half-way: passed with each report of progress.
    Inferring = "inferring",
    /// Findings are there, nothing of them is kept yet.
    Inferred = "inferred",
    /// An object lies in the spool, the job does not know it yet.
    Kept = "kept",
    /// The result is computed and its deliveries are held back.
    Completed = "completed",
    /// The deliveries may leave.
    Released = "released",
    /// A delivery is claimed, nothing is sent.
    DeliveryClaimed = "delivery-claimed",
    /// The destination has the object, the ledger does not know it yet.
    Sent = "sent",
    /// The ledger knows that the object was sent.
    Delivered = "delivered",
    /// The destination was seen to hold the object, the ledger does not know it yet.
    Seen = "seen",
    /// The arrival is proved.
    Proved = "proved",
    /// A note that a result is superseded is in the outbox.
    Superseded = "superseded",
}

impl fmt::Display for KillPoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Armed {
    point: KillPoint,
    passes: u32,
}

/// Dies here when the environment says so.
pub(crate) fn pass(point: KillPoint) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Some(armed) = ARMED.get_or_init(|| parse(&std::env::var(KILL_AT_VARIABLE).ok()?)) else { return };
    if armed.point == point && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == armed.passes {
        std::process::abort();
    }
}

fn parse(text: &str) -> Option<Armed> {
    let (name, passes) = match text.split_once(':') {
        Some((name, passes)) => (name, passes.parse().ok()?),
        None => (text, 1),
    };
    let point = KillPoint::ALL.iter().copied().find(|point| point.name() == name)?;
    Some(Armed { point, passes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_armed_by_name_and_number_of_passes() {
        assert_eq!(parse("kept"), Some(Armed { point: KillPoint::Kept, passes: 1 }));
        assert_eq!(parse("inferring:7"), Some(Armed { point: KillPoint::Inferring, passes: 7 }));
        for text in ["", "no-such-point", "kept:", "kept:x"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_differ() {
        let mut names: Vec<_> = KillPoint::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KillPoint::ALL.len());
    }
}
