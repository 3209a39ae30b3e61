//! How a caller follows a run and ends it.

/// The run was ended by its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the run was cancelled")]
pub struct Cancelled;

/// Who goes first when two runs want the same device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// A person waits: goes before every [`Urgency::Background`] run, at its next window.
    Interactive,
    Background,
}

/// A caller's handles on a run.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Told the finished part, 0 … 1, growing.
    pub progress: &'a (dyn Fn(f32) + Sync),
    /// Asked before each window or slice.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    pub urgency: Urgency,
}

impl Control<'static> {
    /// Nobody watches and nobody cancels.
    pub fn unattended() -> Self {
        Self { progress: &|_| {}, cancelled: &|| false, urgency: Urgency::Background }
    }
}

impl Control<'_> {
    pub(crate) fn checkpoint(&self) -> Result<(), Cancelled> {
        if (self.cancelled)() { Err(Cancelled) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Control<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Control").field("urgency", &self.urgency).finish_non_exhaustive()
    }
}
