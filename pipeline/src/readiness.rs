//! Whether a series is whole: evidence in, verdict out; pure.
//!
//! DICOM says nowhere that a series is complete, so each kind of evidence is weighed:
//! a count that the sender states, an association that it released, silence, Orthanc's
//! word, a person's word. Geometry without holes is asked for before release or silence
//! count, and never counts by itself: slices 1 to 80 of 160 look whole.
//!
//! Two kinds of sender make a release say little, and are waited for in silence instead:
//! those that spread a series over several associations, and those that open one for each
//! instance. A sender that contradicts itself (fewer instances than it stated, an
//! association left open or broken off) is given [`Patience::doubtful`] of silence.

use std::time::Duration;

use ledger::Millis;
use serde::{Deserialize, Serialize};

/// What is known about one series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesFacts {
    pub instances: u32,
    /// How many instances the sender says there are.
    pub stated: Option<u32>,
    pub geometry: Geometry,
    pub carriers: Vec<Carriage>,
    pub last_arrival: Millis,
    /// Orthanc called it stable after the last instance came.
    pub stable: bool,
    /// A person said so after the last instance came.
    pub forced: bool,
}

/// What the positions of the slices say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Geometry {
    /// At least two slices, evenly apart.
    NoHoles,
    /// So many slices seem to be missing between others.
    Holes(u32),
    /// One instance that is a whole image: a radiograph, a multi-frame.
    Single,
    /// One slice of a kind of image that comes in stacks.
    LoneSlice,
    /// No positions to judge by.
    Unplaced,
}

/// One association, request or download that brought instances of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriage {
    Open,
    /// The sender said that it was done.
    Released,
    /// It ended without that.
    Broken,
    /// We fetched it ourselves: its end says nothing about the sender.
    Fetched,
}

/// How long silence must last to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    pub quiet: Duration,
    /// For a sender that contradicts itself.
    pub doubtful: Duration,
}

impl Patience {
    /// `quiet`, and a minute (or six times `quiet`, if that is longer) in doubt.
    #[must_use]
    pub fn with_quiet(quiet: Duration) -> Self {
        Self { quiet, doubtful: Duration::from_secs(60).max(quiet * 6) }
    }
}

/// Why a series counts as whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Evidence {
    Forced,
    StatedCount { count: u32 },
    OrthancStable,
    AssociationReleased,
    Quiet { seconds: u64 },
}

/// What a series waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Wait {
    /// Associations that carried it and are still open.
    AssociationRelease {
        open: u32,
    },
    StatedCount {
        arrived: u32,
        stated: u32,
    },
    /// Slices that seem to be missing between others; or a person's word.
    MissingSlices {
        about: u32,
    },
    /// Silence until then.
    Quiet {
        until: Millis,
    },
}

/// What the evidence amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub evidence: Option<Evidence>,
    pub waits_for: Vec<Wait>,
    /// When the same facts may have become evidence.
    pub look_again_at: Option<Millis>,
}

impl Verdict {
    fn whole(evidence: Evidence) -> Self {
        Self { evidence: Some(evidence), waits_for: Vec::new(), look_again_at: None }
    }

    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.evidence.is_some()
    }
}

/// Weighs the evidence for one series.
#[must_use]
pub fn verdict(facts: &SeriesFacts, patience: Patience, now: Millis) -> Verdict {
    if facts.forced {
        return Verdict::whole(Evidence::Forced);
    }
    if let Some(stated) = facts.stated.filter(|stated| (1..=facts.instances).contains(stated)) {
        return Verdict::whole(Evidence::StatedCount { count: stated });
    }
    if facts.stable {
        return Verdict::whole(Evidence::OrthancStable);
    }
    if release_counts(facts) {
        return Verdict::whole(Evidence::AssociationReleased);
    }
    let silence = silence_asked_for(facts, patience);
    let quiet_at = facts.last_arrival.plus(silence);
    if quiet_at <= now && !has_holes(facts) {
        return Verdict::whole(Evidence::Quiet { seconds: now.since(facts.last_arrival).as_secs() });
    }
    Verdict {
        evidence: None,
        waits_for: waits(facts, quiet_at, now),
        look_again_at: (quiet_at > now && !has_holes(facts)).then_some(quiet_at),
    }
}

/// One association brought everything, was released, and nothing contradicts it.
fn release_counts(facts: &SeriesFacts) -> bool {
    let one_released = matches!(facts.carriers.as_slice(), [Carriage::Released]);
    let looks_whole = matches!(facts.geometry, Geometry::NoHoles | Geometry::Single);
    one_released && looks_whole && !contradicts_count(facts)
}

fn silence_asked_for(facts: &SeriesFacts, patience: Patience) -> Duration {
    let open = facts.carriers.contains(&Carriage::Open);
    let last_broken = facts.carriers.last() == Some(&Carriage::Broken);
    if open || last_broken || contradicts_count(facts) { patience.doubtful } else { patience.quiet }
}

fn contradicts_count(facts: &SeriesFacts) -> bool {
    facts.stated.is_some_and(|stated| stated > facts.instances)
}

fn has_holes(facts: &SeriesFacts) -> bool {
    matches!(facts.geometry, Geometry::Holes(_))
}

fn waits(facts: &SeriesFacts, quiet_at: Millis, now: Millis) -> Vec<Wait> {
    let mut waits = Vec::new();
    let open = facts.carriers.iter().filter(|carriage| **carriage == Carriage::Open).count();
    if open > 0 {
        waits.push(Wait::AssociationRelease { open: u32::try_from(open).unwrap_or(u32::MAX) });
    }
    if let Some(stated) = facts.stated.filter(|stated| *stated > facts.instances) {
        waits.push(Wait::StatedCount { arrived: facts.instances, stated });
    }
    if let Geometry::Holes(about) = facts.geometry {
        waits.push(Wait::MissingSlices { about });
    }
    if quiet_at > now {
        waits.push(Wait::Quiet { until: quiet_at });
    }
    waits
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_000_000);

    fn patience() -> Patience {
        Patience::with_quiet(Duration::from_secs(5))
    }

    /// Ten slices without holes that came a second ago on one released association.
    fn facts() -> SeriesFacts {
        SeriesFacts {
            instances: 10,
            stated: None,
            geometry: Geometry::NoHoles,
            carriers: vec![Carriage::Released],
            last_arrival: NOW.minus(Duration::from_secs(1)),
            stable: false,
            forced: false,
        }
    }

    fn silent_for(seconds: u64) -> Millis {
        NOW.minus(Duration::from_secs(seconds))
    }

    #[track_caller]
    fn check(facts: SeriesFacts, expected: Option<Evidence>) {
        assert_eq!(verdict(&facts, patience(), NOW).evidence, expected, "{facts:?}");
    }

    #[test]
    fn a_released_association_is_evidence_when_nothing_contradicts_it() {
        let released = Some(Evidence::AssociationReleased);
        check(facts(), released);
        check(SeriesFacts { geometry: Geometry::Single, instances: 1, ..facts() }, released);
        check(SeriesFacts { geometry: Geometry::Holes(3), ..facts() }, None);
        check(SeriesFacts { geometry: Geometry::LoneSlice, instances: 1, ..facts() }, None);
        check(SeriesFacts { geometry: Geometry::Unplaced, ..facts() }, None);
        check(SeriesFacts { stated: Some(20), ..facts() }, None);
        check(SeriesFacts { carriers: vec![Carriage::Broken], ..facts() }, None);
        check(SeriesFacts { carriers: vec![Carriage::Open], ..facts() }, None);
        check(SeriesFacts { carriers: vec![Carriage::Fetched], ..facts() }, None);
    }

    #[test]
    fn a_series_over_several_associations_waits_for_silence() {
        let carriers = vec![Carriage::Released, Carriage::Released];
        check(SeriesFacts { carriers: carriers.clone(), ..facts() }, None);
        check(
            SeriesFacts { carriers, last_arrival: silent_for(5), ..facts() },
            Some(Evidence::Quiet { seconds: 5 }),
        );
    }

    #[test]
    fn silence_is_evidence_only_without_holes() {
        let silent =
            SeriesFacts { carriers: vec![Carriage::Fetched], last_arrival: silent_for(7), ..facts() };
        check(silent.clone(), Some(Evidence::Quiet { seconds: 7 }));
        check(
            SeriesFacts { geometry: Geometry::LoneSlice, instances: 1, ..silent.clone() },
            Some(Evidence::Quiet { seconds: 7 }),
        );
        check(SeriesFacts { geometry: Geometry::Holes(1), ..silent.clone() }, None);
        check(SeriesFacts { geometry: Geometry::Holes(1), last_arrival: silent_for(900), ..silent }, None);
    }

    #[test]
    fn a_sender_in_doubt_gets_more_time() {
        for doubtful in [
            SeriesFacts { carriers: vec![Carriage::Open], ..facts() },
            SeriesFacts { carriers: vec![Carriage::Broken], ..facts() },
            SeriesFacts { carriers: vec![Carriage::Released, Carriage::Broken], ..facts() },
            SeriesFacts { stated: Some(11), ..facts() },
        ] {
            check(SeriesFacts { last_arrival: silent_for(59), ..doubtful.clone() }, None);
            check(
                SeriesFacts { last_arrival: silent_for(60), ..doubtful },
                Some(Evidence::Quiet { seconds: 60 }),
            );
        }
    }

    #[test]
    fn a_retry_after_a_broken_association_is_in_no_doubt() {
        let carriers = vec![Carriage::Broken, Carriage::Released];
        check(
            SeriesFacts { carriers, last_arrival: silent_for(5), ..facts() },
            Some(Evidence::Quiet { seconds: 5 }),
        );
    }

    #[test]
    fn a_stated_count_orthanc_and_a_person_are_believed_at_once() {
        let open = SeriesFacts { carriers: vec![Carriage::Open], ..facts() };
        check(SeriesFacts { stated: Some(10), ..open.clone() }, Some(Evidence::StatedCount { count: 10 }));
        check(SeriesFacts { stated: Some(9), ..open.clone() }, Some(Evidence::StatedCount { count: 9 }));
        check(SeriesFacts { stated: Some(0), ..open.clone() }, None);
        check(SeriesFacts { stable: true, ..open.clone() }, Some(Evidence::OrthancStable));
        let holes = SeriesFacts { geometry: Geometry::Holes(4), stated: Some(30), ..open };
        check(SeriesFacts { forced: true, ..holes }, Some(Evidence::Forced));
    }

    #[test]
    fn what_is_waited_for_is_said() {
        let facts = SeriesFacts {
            carriers: vec![Carriage::Open, Carriage::Released],
            stated: Some(12),
            geometry: Geometry::Holes(2),
            ..facts()
        };
        let verdict = verdict(&facts, patience(), NOW);
        assert_eq!(
            verdict.waits_for,
            [
                Wait::AssociationRelease { open: 1 },
                Wait::StatedCount { arrived: 10, stated: 12 },
                Wait::MissingSlices { about: 2 },
                Wait::Quiet { until: facts.last_arrival.plus(Duration::from_secs(60)) },
            ]
        );
        assert_eq!(verdict.look_again_at, None, "silence will not fill the holes");
    }

    #[test]
    fn the_next_look_is_when_silence_would_count() {
        let facts = SeriesFacts { carriers: vec![Carriage::Fetched], ..facts() };
        let until = facts.last_arrival.plus(Duration::from_secs(5));
        assert_eq!(verdict(&facts, patience(), NOW).look_again_at, Some(until));
        assert!(verdict(&facts, patience(), until).is_whole());
    }
}
