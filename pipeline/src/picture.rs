//! What is known of a study at one moment: its series, their stacks, how they came.
//!
//! Read from the ledger in one go; everything that is decided from it is pure. Own results
//! are taken out here, by the UIDs that the ledger knows, before anything is sorted: an
//! archive may have changed everything else about them on their way.

use std::collections::{BTreeMap, BTreeSet};

use imaging::{Header, Plane, SeriesUid, SopInstanceUid, Stack, Stacks, StudyUid};
use ledger::{Carrier, Door, Ending, Hold, InstanceRow, Ledger, Millis, SeriesRow, StudyRow};

use crate::readiness::{Carriage, Geometry, SeriesFacts};

/// The label of a title of ours (`dicom.also_called`) under which emergencies are sent.
const STAT_LABEL: &str = "stat";

/// A study as the ledger knows it.
#[derive(Debug)]
pub(crate) struct StudyPicture {
    pub(crate) study: StudyRow,
    pub(crate) series: Vec<SeriesPicture>,
    pub(crate) holds: Vec<Hold>,
}

/// A series with its instances, own results left out.
#[derive(Debug)]
pub(crate) struct SeriesPicture {
    pub(crate) row: SeriesRow,
    pub(crate) headers: Vec<Header>,
    /// Digest of the data set of each of `headers`.
    pub(crate) digests: Vec<String>,
    pub(crate) stacks: Stacks,
    pub(crate) facts: SeriesFacts,
    /// Who sent it last.
    pub(crate) calling_ae: String,
    /// A sender called us by a title that stands for emergencies ([`STAT_LABEL`]).
    pub(crate) is_stat: bool,
}

/// Reads the picture of a study; nothing when the ledger does not know it.
pub(crate) async fn of_study(
    ledger: &Ledger,
    study: &StudyUid,
) -> Result<Option<StudyPicture>, ledger::Error> {
    let Some(evidence) = ledger.evidence(study).await? else { return Ok(None) };
    let is_forced = forced(&evidence.study);
    let is_stable = evidence.study.stable.is_some_and(|stable| stable.revision == evidence.study.revision);
    let own = ledger.own_objects(study).await?;
    let mut series = Vec::with_capacity(evidence.series.len());
    for one in evidence.series {
        let rows = ledger.instances_of_series(study, &one.series.series).await?;
        let said = Said { stable: is_stable || one.is_stable(), forced: is_forced };
        series.push(SeriesPicture::new(one.series, rows, &own, &one.carriers, said));
    }
    Ok(Some(StudyPicture { study: evidence.study, series, holds: evidence.holds }))
}

/// The series of files that no ledger knows, as if one sender had just brought them.
pub(crate) fn of_headers(headers: &[Header]) -> Vec<SeriesPicture> {
    let mut by_series: BTreeMap<(&StudyUid, &SeriesUid), Vec<&Header>> = BTreeMap::new();
    for header in headers {
        by_series.entry((&header.study, &header.series)).or_default().push(header);
    }
    let mut pictures: Vec<SeriesPicture> =
        by_series.into_values().map(|headers| of_files(&headers)).collect();
    pictures.sort_by_key(|picture| picture.row.series_number);
    pictures
}

fn of_files(headers: &[&Header]) -> SeriesPicture {
    let first = headers[0];
    let now = Millis::default();
    let row = SeriesRow {
        study: first.study.clone(),
        series: first.series.clone(),
        revision: 1,
        instance_count: headers.len() as u64,
        modality: first.modality.clone(),
        series_description: first.series_description.clone(),
        body_part: first.body_part.clone(),
        series_number: first.series_number.map(i64::from),
        first_arrival_at: now,
        last_arrival_at: now,
        stable: None,
    };
    let headers: Vec<Header> = headers.iter().map(|header| (*header).clone()).collect();
    let digests = vec![String::new(); headers.len()];
    SeriesPicture::sorted(row, headers, digests, &[], Said { stable: false, forced: false })
}

/// A person's word holds for what had come when it was spoken. What the study learns later
/// without getting a new instance (an association that ends) does not take it back.
fn forced(study: &StudyRow) -> bool {
    study.forced.as_ref().is_some_and(|forced| forced.at >= study.last_arrival_at)
}

/// What others say about a series.
#[derive(Debug, Clone, Copy)]
struct Said {
    stable: bool,
    forced: bool,
}

impl SeriesPicture {
    fn new(
        row: SeriesRow,
        instances: Vec<InstanceRow>,
        own: &BTreeSet<SopInstanceUid>,
        carriers: &[Carrier],
        said: Said,
    ) -> Self {
        let (headers, digests): (Vec<Header>, Vec<String>) = instances
            .into_iter()
            .filter(|row| !own.contains(&row.header.sop_instance))
            .map(|row| (row.header, row.digest))
            .unzip();
        Self::sorted(row, headers, digests, carriers, said)
    }

    fn sorted(
        row: SeriesRow,
        headers: Vec<Header>,
        digests: Vec<String>,
        carriers: &[Carrier],
        said: Said,
    ) -> Self {
        let mut stacks = imaging::stacks(&headers);
        stacks.stacks.sort_by_cached_key(|stack| order(&headers, stack));
        let facts = SeriesFacts {
            instances: u32::try_from(headers.len()).unwrap_or(u32::MAX),
            stated: stated_count(&headers),
            geometry: geometry(&headers, &stacks),
            carriers: carriers.iter().map(carriage).collect(),
            last_arrival: row.last_arrival_at,
            stable: said.stable,
            forced: said.forced,
        };
        let calling_ae = carriers.last().map(|carrier| carrier.calling_ae.clone()).unwrap_or_default();
        let is_stat = carriers.iter().any(|carrier| carrier.called_ae.eq_ignore_ascii_case(STAT_LABEL));
        Self { row, headers, digests, stacks, facts, calling_ae, is_stat }
    }

    /// Whether there is anything in it that a model could look at.
    pub(crate) fn is_candidate(&self) -> bool {
        !self.stacks.stacks.is_empty() || !self.stacks.unplaced.is_empty()
    }

    /// Slices of a stack: its members, or the frames of the one member that has many.
    pub(crate) fn slices(&self, stack: &Stack) -> usize {
        stack.members.iter().map(|member| self.headers[*member].number_of_frames.max(1) as usize).sum()
    }
}

/// Stacks of a series get the same numbers whatever the order in which slices came.
fn order(headers: &[Header], stack: &Stack) -> (String, String, SopInstanceUid) {
    let first = stack.members.iter().map(|member| &headers[*member].sop_instance).min();
    let first = first.cloned().expect("a stack has at least one member");
    (stack.split.clone().unwrap_or_default(), format!("{:?}", stack.plane), first)
}

fn carriage(carrier: &Carrier) -> Carriage {
    match (carrier.door, carrier.ended) {
        (_, None) => Carriage::Open,
        (Door::Orthanc | Door::Recovery, Some(_)) => Carriage::Fetched,
        (Door::Dimse | Door::Stow | Door::Upload, Some((_, Ending::Released))) => Carriage::Released,
        (Door::Dimse | Door::Stow | Door::Upload, Some((_, Ending::Aborted | Ending::Lost))) => {
            Carriage::Broken
        }
    }
}

/// A count that all instances agree on. Images in Acquisition counts for the series only
/// where all of it is one acquisition.
fn stated_count(headers: &[Header]) -> Option<u32> {
    let in_series = agreed(headers, |header| header.images_in_series);
    if in_series.is_some() {
        return in_series;
    }
    agreed(headers, |header| header.acquisition_number)?;
    let in_acquisition = agreed(headers, |header| header.images_in_acquisition)?;
    // Scanners are known to write 1, or the count of something else.
    let plausible = in_acquisition > 1 && headers.len() <= in_acquisition as usize;
    plausible.then_some(in_acquisition)
}

fn agreed<T: PartialEq>(headers: &[Header], value: impl Fn(&Header) -> Option<T>) -> Option<T> {
    let first = value(headers.first()?)?;
    headers.iter().all(|header| value(header).as_ref() == Some(&first)).then_some(first)
}

fn geometry(headers: &[Header], stacks: &Stacks) -> Geometry {
    let missing: usize = stacks.stacks.iter().flat_map(|stack| &stack.holes).map(|hole| hole.missing).sum();
    if missing > 0 {
        return Geometry::Holes(u32::try_from(missing).unwrap_or(u32::MAX));
    }
    let is_multi_frame =
        |stack: &Stack| stack.members.iter().any(|member| headers[*member].number_of_frames > 1);
    match (stacks.stacks.as_slice(), stacks.unplaced.len()) {
        ([], 1) => Geometry::Single,
        ([], _) => Geometry::Unplaced,
        // Each image stands for itself.
        (all, 0) if all.iter().all(|stack| stack.plane == Plane::Unplaced) => Geometry::Single,
        ([stack], _) if is_multi_frame(stack) => Geometry::Single,
        (all, _) if all.iter().any(|stack| stack.members.len() < 2 && !is_multi_frame(stack)) => {
            Geometry::LoneSlice
        }
        _ => Geometry::NoHoles,
    }
}
