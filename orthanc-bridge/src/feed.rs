//! How far Orthanc's change log has been followed, and which studies are not settled yet.
//!
//! Orthanc forgets to say "stable" when it was stopped in between, so a study counts as
//! unsettled from the first change that touches it until it was fetched while stable. The
//! position that is kept for the next start never passes an unsettled study: what happened
//! while either side was off is read again.

use std::collections::BTreeMap;

use crate::orthanc::{Change, ChangeKind, OrthancId};

/// The reader's state.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// The last change that was read.
    position: i64,
    /// Studies that changed, with the position before the first change.
    unsettled: BTreeMap<OrthancId, i64>,
}

impl Feed {
    pub(crate) fn from(position: i64) -> Self {
        Self { position, unsettled: BTreeMap::new() }
    }

    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    /// Where to go on after a restart.
    pub(crate) fn durable_position(&self) -> i64 {
        self.unsettled.values().copied().min().unwrap_or(self.position)
    }

    /// Notes that the log was read up to `last`, and which studies that part of it touches.
    pub(crate) fn advance(&mut self, last: i64, touched: impl IntoIterator<Item = OrthancId>) {
        for study in touched {
            self.unsettled.entry(study).or_insert(self.position);
        }
        self.position = last.max(self.position);
    }

    pub(crate) fn settled(&mut self, study: &OrthancId) {
        self.unsettled.remove(study);
    }

    /// Studies that wait, the one that changed first first.
    pub(crate) fn unsettled(&self) -> Vec<OrthancId> {
        let mut studies: Vec<_> = self.unsettled.iter().collect();
        studies.sort_by_key(|(_, since)| **since);
        studies.into_iter().map(|(study, _)| study.clone()).collect()
    }
}

/// The resources of `changes` that belong to a study in which something is new.
pub(crate) fn touching(changes: &[Change]) -> Vec<OrthancId> {
    let mut ids: Vec<OrthancId> = changes
        .iter()
        .filter(|change| match change.kind {
            ChangeKind::NewStudy
            | ChangeKind::NewSeries
            | ChangeKind::NewInstance
            | ChangeKind::StableSeries
            | ChangeKind::StableStudy => true,
            ChangeKind::Deleted | ChangeKind::Other => false,
        })
        .map(|change| change.id.clone())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> OrthancId {
        OrthancId::parse(&format!("{number:08x}-00000000-00000000-00000000-00000000")).unwrap()
    }

    #[test]
    fn an_unsettled_study_holds_the_durable_position_back() {
        let mut feed = Feed::from(10);
        feed.advance(20, [id(1)]);
        feed.advance(30, [id(2), id(1)]);
        assert_eq!((feed.position(), feed.durable_position()), (30, 10));
        feed.settled(&id(1));
        assert_eq!(feed.durable_position(), 20);
        feed.settled(&id(2));
        assert_eq!(feed.durable_position(), 30);
    }

    #[test]
    fn studies_are_taken_in_the_order_in_which_they_changed() {
        let mut feed = Feed::from(0);
        feed.advance(1, [id(9)]);
        feed.advance(2, [id(1)]);
        assert_eq!(feed.unsettled(), [id(9), id(1)]);
    }

    #[test]
    fn only_what_brings_something_new_touches_a_study() {
        let change = |kind, number| Change { seq: 1, kind, id: id(number) };
        let changes = [
            change(ChangeKind::NewInstance, 3),
            change(ChangeKind::NewInstance, 3),
            change(ChangeKind::StableStudy, 1),
            change(ChangeKind::Deleted, 4),
            change(ChangeKind::Other, 5),
        ];
        assert_eq!(touching(&changes), [id(1), id(3)]);
    }
}
