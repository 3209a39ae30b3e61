//! Takes in batches of instances: one transaction, whatever the number.

use std::collections::{BTreeMap, BTreeSet};

use imaging::{Header, Patient, SeriesUid, SopInstanceUid, StudyUid};
use serde_json::json;

use crate::db::Tx;
use crate::event::{self, NewEvent};
use crate::instance::{self, Known};
use crate::{
    AssociationId, Error, HoldReason, Ledger, Millis, Topic, association, hold, identity, series, study,
};

/// An instance whose bytes are in the spool.
#[derive(Debug, Clone, PartialEq)]
pub struct NewInstance {
    pub header: Header,
    /// BLAKE3 of the data set, in hex.
    pub digest: String,
    pub size_bytes: u64,
    pub association: AssociationId,
    pub arrived_at: Millis,
}

/// What the ledger made of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    New,
    /// New, but its patient is not the one that the study was first seen with: the study is held.
    NewOfOtherPatient,
    /// Known with the same data set.
    Same,
    /// Known with another data set, which stays; there is an event, and the study is held
    /// when this one names another patient.
    Twin,
    /// Known as part of another study or series, whose instance stays; that study is held, and the one that
    /// it came for when the ledger knows it.
    Misplaced,
}

impl Ledger {
    /// Records `batch` with its series and studies; one answer for each, in order.
    /// Nothing of it is recorded when an error is given.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn record_instances(&self, batch: &[NewInstance]) -> Result<Vec<Recorded>, Error> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.begin().await?;
        let recorded = record(&mut tx, batch).await?;
        self.commit(tx, &[Topic::Intake]).await?;
        Ok(recorded)
    }

    /// Compares `new`, which is not in service, with what is known under its UID, as [`Ledger::record_instances`]
    /// does. `None` when nothing is known: then nothing is written, for it must not become what is known.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn compare_instance(&self, new: &NewInstance) -> Result<Option<Recorded>, Error> {
        let mut tx = self.db.begin().await?;
        let batch = std::slice::from_ref(new);
        let known = known_before(&mut tx, batch).await?;
        let Some(first) = known.get(&new.header.sop_instance) else { return Ok(None) };
        note_carriers(&mut tx, batch, &known).await?;
        let recorded = compare(&mut tx, first, new).await?;
        self.commit(tx, &[Topic::Intake]).await?;
        Ok(Some(recorded))
    }
}

pub(crate) async fn record(tx: &mut Tx, batch: &[NewInstance]) -> Result<Vec<Recorded>, Error> {
    let known = known_before(tx, batch).await?;
    let candidates = first_of_each(batch, &known);
    let disagreeing = make_studies_known(tx, &candidates).await?;
    let inserted = instance::insert(tx, &candidates).await?;
    note_growth(tx, &candidates, &inserted).await?;
    note_carriers(tx, batch, &known).await?;
    answers(tx, batch, known, &inserted, &disagreeing).await
}

async fn known_before(tx: &mut Tx, batch: &[NewInstance]) -> Result<BTreeMap<SopInstanceUid, Known>, Error> {
    let uids: Vec<&SopInstanceUid> = batch.iter().map(|new| &new.header.sop_instance).collect();
    Ok(instance::known(tx, &uids).await?.into_iter().collect())
}

/// What is not known yet, each UID once.
fn first_of_each<'a>(
    batch: &'a [NewInstance],
    known: &BTreeMap<SopInstanceUid, Known>,
) -> Vec<&'a NewInstance> {
    let mut seen = BTreeSet::new();
    batch
        .iter()
        .filter(|new| !known.contains_key(&new.header.sop_instance) && seen.insert(&new.header.sop_instance))
        .collect()
}

/// Makes studies and series known, in the order in which everybody locks studies, and gives
/// the instances whose patient is another than the study's.
pub(crate) async fn make_studies_known(
    tx: &mut Tx,
    candidates: &[&NewInstance],
) -> Result<BTreeSet<SopInstanceUid>, Error> {
    let mut disagreeing = BTreeSet::new();
    for instances in by_study(candidates).values() {
        let first = instances[0];
        let late = any_carrier_ended(tx, instances).await?;
        let look = if late { study::Look::AtOnce } else { study::Look::WhenQuiet };
        let patient = study::arrive(tx, &first.header, latest(instances), look).await?;
        for in_series in by_series(instances).values() {
            series::make_known(tx, &in_series[0].header, in_series[0].arrived_at).await?;
        }
        disagreeing.extend(hold_for_other_patients(tx, &patient, instances).await?);
    }
    Ok(disagreeing)
}

async fn hold_for_other_patients(
    tx: &mut Tx,
    patient: &Patient,
    instances: &[&NewInstance],
) -> Result<Vec<SopInstanceUid>, Error> {
    let disagreeing: Vec<&&NewInstance> =
        instances.iter().filter(|new| identity::disagree(patient, &new.header.facts.patient)).collect();
    // One hold for each other patient of a series, not one for each slice.
    let conflicts: BTreeMap<String, &&NewInstance> =
        disagreeing.iter().map(|new| (conflict_subject(new), *new)).collect();
    for (subject, new) in conflicts {
        raise_identity_conflict(tx, &new.header.study, &subject, new.arrived_at).await?;
    }
    Ok(disagreeing.into_iter().map(|new| new.header.sop_instance.clone()).collect())
}

fn conflict_subject(new: &NewInstance) -> String {
    identity::conflict_subject(&new.header.series, &new.header.facts.patient)
}

async fn raise_identity_conflict(
    tx: &mut Tx,
    study: &StudyUid,
    subject: &str,
    now: Millis,
) -> Result<(), Error> {
    hold::raise(tx, study, HoldReason::IdentityConflict, subject, "overread", now).await.map(drop)
}

async fn note_growth(
    tx: &mut Tx,
    candidates: &[&NewInstance],
    inserted: &BTreeSet<SopInstanceUid>,
) -> Result<(), Error> {
    let new: Vec<&NewInstance> =
        candidates.iter().copied().filter(|new| inserted.contains(&new.header.sop_instance)).collect();
    for (study, instances) in by_study(&new) {
        for (series, in_series) in by_series(&instances) {
            series::grow(tx, study, series, in_series.len() as i64, latest(&in_series)).await?;
        }
        let event = study::received_event(study, instances.len() as i64, latest(&instances));
        event::append(tx, event).await?;
    }
    Ok(())
}

/// Repeats count too: whoever sends an instance again has not finished with its series.
/// What is known elsewhere counts for nothing here: its series may not exist.
pub(crate) async fn note_carriers(
    tx: &mut Tx,
    batch: &[NewInstance],
    known: &BTreeMap<SopInstanceUid, Known>,
) -> Result<(), Error> {
    let mut carried: BTreeMap<(AssociationId, &StudyUid, &SeriesUid), (i64, Millis)> = BTreeMap::new();
    let mut places: BTreeMap<&SopInstanceUid, (&StudyUid, &SeriesUid)> = BTreeMap::new();
    for new in batch {
        let uid = &new.header.sop_instance;
        // Where a batch has a UID twice, the first is the one that becomes known.
        let (study, series) = *places.entry(uid).or_insert_with(|| match known.get(uid) {
            Some(known) => (&known.study, &known.series),
            None => (&new.header.study, &new.header.series),
        });
        let (count, last_at) = carried.entry((new.association, study, series)).or_default();
        *count += 1;
        *last_at = new.arrived_at.max(*last_at);
    }
    for ((association, study, series), (count, last_at)) in carried {
        association::carried(tx, association, study, series, count, last_at).await?;
    }
    Ok(())
}

async fn answers(
    tx: &mut Tx,
    batch: &[NewInstance],
    mut known: BTreeMap<SopInstanceUid, Known>,
    inserted: &BTreeSet<SopInstanceUid>,
    disagreeing: &BTreeSet<SopInstanceUid>,
) -> Result<Vec<Recorded>, Error> {
    let mut recorded = Vec::with_capacity(batch.len());
    for new in batch {
        let uid = &new.header.sop_instance;
        let answer = match known.get(uid) {
            Some(known) => compare(tx, known, new).await?,
            None if inserted.contains(uid) && disagreeing.contains(uid) => Recorded::NewOfOtherPatient,
            None if inserted.contains(uid) => Recorded::New,
            // Another node recorded it between our look and our insert.
            None => match instance::known(tx, &[uid]).await?.pop() {
                Some((_, known)) => compare(tx, &known, new).await?,
                None => Recorded::Same,
            },
        };
        // From here on a second one of the same UID is compared with this one.
        known.entry(uid.clone()).or_insert_with(|| Known {
            study: new.header.study.clone(),
            series: new.header.series.clone(),
            digest: new.digest.clone(),
        });
        recorded.push(answer);
    }
    Ok(recorded)
}

/// Compares what came with what is known under the same UID, and holds the study where they differ in whose it is.
async fn compare(tx: &mut Tx, known: &Known, new: &NewInstance) -> Result<Recorded, Error> {
    let header = &new.header;
    if known.study != header.study || known.series != header.series {
        let subject = header.sop_instance.as_str();
        hold::raise(tx, &known.study, HoldReason::QuarantinedTwin, subject, "overread", new.arrived_at)
            .await?;
        // The study that it came for lacks it from now on.
        if known.study != header.study {
            let reason = HoldReason::QuarantinedTwin;
            match hold::raise(tx, &header.study, reason, subject, "overread", new.arrived_at).await {
                Ok(_) | Err(Error::NoSuchStudy(_)) => {}
                Err(error) => return Err(error),
            }
        }
        event::append(tx, twin_event("instance.misplaced", known, new)).await?;
        return Ok(Recorded::Misplaced);
    }
    if known.digest == new.digest {
        return Ok(Recorded::Same);
    }
    event::append(tx, twin_event("instance.twin", known, new)).await?;
    let patient = study::patient(tx, &known.study).await?;
    if identity::disagree(&patient, &header.facts.patient) {
        raise_identity_conflict(tx, &known.study, &conflict_subject(new), new.arrived_at).await?;
    }
    Ok(Recorded::Twin)
}

fn twin_event(kind: &'static str, known: &Known, new: &NewInstance) -> NewEvent {
    let detail = json!({
        "instance": new.header.sop_instance,
        "kept_digest": known.digest,
        "other_digest": new.digest,
        "association": new.association,
    });
    NewEvent::new(kind, new.arrived_at).study(&known.study).detail(detail)
}

async fn any_carrier_ended(tx: &mut Tx, instances: &[&NewInstance]) -> Result<bool, Error> {
    let associations: BTreeSet<AssociationId> = instances.iter().map(|new| new.association).collect();
    for id in associations {
        if association::has_ended(tx, id).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn by_study<'a>(instances: &[&'a NewInstance]) -> BTreeMap<&'a StudyUid, Vec<&'a NewInstance>> {
    let mut studies: BTreeMap<&StudyUid, Vec<&NewInstance>> = BTreeMap::new();
    for new in instances {
        studies.entry(&new.header.study).or_default().push(new);
    }
    studies
}

fn by_series<'a>(instances: &[&'a NewInstance]) -> BTreeMap<&'a SeriesUid, Vec<&'a NewInstance>> {
    let mut series: BTreeMap<&SeriesUid, Vec<&NewInstance>> = BTreeMap::new();
    for new in instances {
        series.entry(&new.header.series).or_default().push(new);
    }
    series
}

fn latest(instances: &[&NewInstance]) -> Millis {
    instances.iter().map(|new| new.arrived_at).max().unwrap_or_default()
}
