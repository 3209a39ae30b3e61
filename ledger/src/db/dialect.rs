//! The statements that the two backends spell differently.

/// How a job is claimed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Claiming {
    /// The first due job of a model: model, now, worker, node, boot, end of the lease. What else belongs to a
    /// claim follows in the same transaction; inside one process that costs nothing.
    OfModel(&'static str),
    /// All that a claim reads and writes, in one round trip: see `sql/claim_next.sql`.
    AtOnce(&'static str),
}

/// One spelling of each; the comments say what a statement is for, in both.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// Whether values are called `$1`, `$2`, … where a statement is built, or just `?`.
    pub(crate) values_have_numbers: bool,
    /// Reads a study's revision and keeps others from changing it until the commit.
    pub(crate) lock_study: &'static str,
    /// Keeps others from adding to the audit trail until the commit; none where a transaction that
    /// writes does so by itself.
    pub(crate) lock_audit: Option<&'static str>,
    /// Hands a due job to one worker.
    pub(crate) claim_job: Claiming,
    /// Hands the first due delivery of a destination to one sender, never past an earlier
    /// one of the same lane: destination, now, node, boot, end of the lease.
    pub(crate) claim_delivery: &'static str,
    /// What is known of the instances named in a JSON array.
    pub(crate) instances_named: &'static str,
    /// Which of the instances named in a JSON array were set aside for their UID: names, study.
    /// The row of a study that was not known then names none.
    pub(crate) set_aside_named: &'static str,
    /// Adds the rows of one call, which are the last argument: a JSON array of arrays.
    pub(crate) insert_predictions: &'static str,
}
