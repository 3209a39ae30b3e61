//! The part of Orthanc's REST interface that is used, as it is from release 1.10.1 on.

use std::fmt;

use bytes::Bytes;
use imaging::{SeriesUid, SopInstanceUid, StudyUid};
use reqwest::{Method, Response, header};
use serde::Deserialize;

use crate::{
    connection::{Connection, ConnectionError},
    rest::{Rest, RestError},
};

/// Orthanc's own name of a patient, study, series or instance: five groups of eight
/// hexadecimal digits. Nothing else can stand in a path that is asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrthancId(Box<str>);

/// A text that is no name of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identifier of Orthanc is five groups of eight hexadecimal digits")]
pub struct BadOrthancId;

impl OrthancId {
    /// # Errors
    /// `text` has another form.
    pub fn parse(text: &str) -> Result<Self, BadOrthancId> {
        let groups: Vec<&str> = text.split('-').collect();
        let is_group = |group: &&str| group.len() == 8 && group.bytes().all(|byte| byte.is_ascii_hexdigit());
        if groups.len() == 5 && groups.iter().all(is_group) {
            Ok(Self(text.into()))
        } else {
            Err(BadOrthancId)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrthancId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for OrthancId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for OrthancId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What Orthanc says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct System {
    pub version: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub dicom_aet: String,
}

/// What became of an uploaded instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    Stored,
    /// Orthanc held an instance with this UID and kept that one.
    AlreadyStored,
}

/// A study as Orthanc holds it. `Debug` shows nothing of the patient.
#[derive(Clone)]
pub struct Study {
    pub id: OrthancId,
    pub uid: StudyUid,
    /// Two patients may share a UID: Orthanc holds two studies then.
    pub patient_id: String,
    pub is_stable: bool,
    pub series: Vec<OrthancId>,
}

impl fmt::Debug for Study {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Study").field("id", &self.id).field("uid", &self.uid).finish_non_exhaustive()
    }
}

/// A series as Orthanc holds it.
#[derive(Debug, Clone)]
pub struct Series {
    pub id: OrthancId,
    pub uid: SeriesUid,
    pub study: OrthancId,
    pub is_stable: bool,
}

/// One instance of a list.
#[derive(Debug, Clone)]
pub struct Instance {
    pub id: OrthancId,
    pub uid: SopInstanceUid,
    pub size_bytes: u64,
}

/// One line of Orthanc's change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub seq: i64,
    pub kind: ChangeKind,
    pub id: OrthancId,
}

/// The kinds of change that tell something about what to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    NewStudy,
    NewSeries,
    NewInstance,
    StableStudy,
    StableSeries,
    Deleted,
    Other,
}

/// A piece of the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub changes: Vec<Change>,
    /// The number to ask from next.
    pub last: i64,
    /// Whether nothing comes after it.
    pub done: bool,
}

/// One Orthanc.
#[derive(Debug, Clone)]
pub struct Orthanc {
    rest: Rest,
}

impl Orthanc {
    /// # Errors
    /// See [`Connection::client`]. Nothing is asked of Orthanc yet.
    pub fn new(connection: Connection) -> Result<Self, ConnectionError> {
        Ok(Self { rest: Rest::new(connection)? })
    }

    /// The address, fit to be shown.
    #[must_use]
    pub fn peer(&self) -> String {
        self.rest.peer()
    }

    /// # Errors
    /// Orthanc cannot be reached, does not let us in, or is something else.
    pub async fn system(&self) -> Result<System, RestError> {
        self.rest.json(self.rest.request(Method::GET, "system")?).await
    }

    /// Uploads one Part 10 file.
    ///
    /// # Errors
    /// [`RestError::Refused`] when Orthanc does not want this instance (unreadable, or a
    /// filter of the site stands against it); anything else may succeed later.
    pub async fn upload(&self, file: Bytes) -> Result<Uploaded, RestError> {
        let request = self
            .rest
            .request(Method::POST, "instances")?
            .header(header::CONTENT_TYPE, "application/dicom")
            .body(file);
        let answer: UploadAnswer = self.rest.json(request).await?;
        match answer.status.as_str() {
            "Success" => Ok(Uploaded::Stored),
            "AlreadyStored" => Ok(Uploaded::AlreadyStored),
            "FilteredOut" | "FilteredByPolicy" => Err(RestError::Refused {
                peer: self.peer(),
                status: 200,
                detail: format!("the instance was not kept: {}", answer.status),
            }),
            other => Err(RestError::Busy {
                peer: self.peer(),
                status: 200,
                detail: format!("the instance was not kept: {other}"),
            }),
        }
    }

    /// Orthanc's identifiers of the instances with this UID: none when it holds no such one.
    /// This is the proof that an instance has arrived.
    ///
    /// # Errors
    /// As [`Orthanc::system`].
    pub async fn find_instance(&self, uid: &SopInstanceUid) -> Result<Vec<OrthancId>, RestError> {
        self.lookup(uid.as_str(), "Instance").await
    }

    /// As [`Orthanc::find_instance`], for a study.
    ///
    /// # Errors
    /// As [`Orthanc::system`].
    pub async fn find_study(&self, uid: &StudyUid) -> Result<Vec<OrthancId>, RestError> {
        self.lookup(uid.as_str(), "Study").await
    }

    async fn lookup(&self, uid: &str, level: &str) -> Result<Vec<OrthancId>, RestError> {
        let request = self.rest.request(Method::POST, "tools/lookup")?.body(uid.to_owned());
        let found: Vec<Found> = self.rest.json(request).await?;
        Ok(found.into_iter().filter(|found| found.level == level).map(|found| found.id).collect())
    }

    /// The change log after `since`, at most `limit` lines. Orthanc answers at once, also
    /// when there is nothing new.
    ///
    /// # Errors
    /// As [`Orthanc::system`].
    pub async fn changes(&self, since: i64, limit: u32) -> Result<Changes, RestError> {
        let answer: ChangesAnswer = self
            .rest
            .json(self.rest.request(Method::GET, &format!("changes?since={since}&limit={limit}"))?)
            .await?;
        Ok(answer.into())
    }

    /// The number of the newest change.
    ///
    /// # Errors
    /// As [`Orthanc::system`].
    pub async fn last_change(&self) -> Result<i64, RestError> {
        let answer: ChangesAnswer = self.rest.json(self.rest.request(Method::GET, "changes?last")?).await?;
        Ok(answer.last)
    }

    /// A study, or nothing when Orthanc holds it no more.
    ///
    /// # Errors
    /// As [`Orthanc::system`].
    pub async fn study(&self, id: &OrthancId) -> Result<Option<Study>, RestError> {
        let Some(answer) = self.resource::<StudyAnswer>(&format!("studies/{id}")).await? else {
            return Ok(None);
        };
        let uid = StudyUid::parse(&answer.main_dicom_tags.study_instance_uid)
            .map_err(|error| self.rest.odd(format!("study {id}: {error}")))?;
        Ok(Some(Study {
            id: answer.id,
            uid,
            patient_id: answer.patient_main_dicom_tags.patient_id,
            is_stable: answer.is_stable,
            series: answer.series,
        }))
    }

    /// A series, or nothing when Orthanc holds it no more.
    ///
    /// # Errors
    /// As [`Orthanc::system`].
    pub async fn series(&self, id: &OrthancId) -> Result<Option<Series>, RestError> {
        let Some(answer) = self.resource::<SeriesAnswer>(&format!("series/{id}")).await? else {
            return Ok(None);
        };
        let uid = SeriesUid::parse(&answer.main_dicom_tags.series_instance_uid)
            .map_err(|error| self.rest.odd(format!("series {id}: {error}")))?;
        Ok(Some(Series { id: answer.id, uid, study: answer.parent_study, is_stable: answer.is_stable }))
    }

    /// The studies to which any of these resources belongs, each once. What Orthanc holds no
    /// more belongs to none.
    ///
    /// # Errors
    /// As [`Orthanc::system`].
    pub async fn studies_of(&self, resources: &[OrthancId]) -> Result<Vec<OrthancId>, RestError> {
        if resources.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = resources.iter().map(OrthancId::as_str).collect();
        let question =
            serde_json::json!({ "Resources": names, "Level": "Study", "Full": false, "Metadata": false });
        let request = self.rest.request(Method::POST, "tools/bulk-content")?.json(&question);
        let studies: Vec<StudyAnswer> = self.rest.json(request).await?;
        Ok(studies.into_iter().map(|study| study.id).collect())
    }

    /// Every instance of a series; none when Orthanc holds the series no more.
    ///
    /// # Errors
    /// As [`Orthanc::system`].
    pub async fn instances_of_series(&self, id: &OrthancId) -> Result<Vec<Instance>, RestError> {
        let answers: Option<Vec<InstanceAnswer>> = self.resource(&format!("series/{id}/instances")).await?;
        let instances = answers.unwrap_or_default().into_iter().map(|answer| {
            let uid = SopInstanceUid::parse(&answer.main_dicom_tags.sop_instance_uid)
                .map_err(|error| self.rest.odd(format!("instance {}: {error}", answer.id)))?;
            Ok(Instance { id: answer.id, uid, size_bytes: answer.file_size })
        });
        instances.collect()
    }

    /// # Errors
    /// As [`Orthanc::system`].
    pub async fn holds_instance(&self, id: &OrthancId) -> Result<bool, RestError> {
        Ok(self.resource::<InstanceAnswer>(&format!("instances/{id}")).await?.is_some())
    }

    /// Starts the download of an instance's file; nothing when Orthanc holds it no more.
    ///
    /// # Errors
    /// As [`Orthanc::system`].
    pub async fn open_file(&self, id: &OrthancId) -> Result<Option<Download<'_>>, RestError> {
        let request = self
            .rest
            .request(Method::GET, &format!("instances/{id}/file"))?
            .header(header::ACCEPT_ENCODING, "identity");
        match self.rest.send(request).await {
            Ok(response) => Ok(Some(Download { rest: &self.rest, response })),
            Err(RestError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes one instance. Only ever called for objects of our own.
    ///
    /// # Errors
    /// As [`Orthanc::system`]; an instance that is gone already is no error.
    pub async fn delete_instance(&self, id: &OrthancId) -> Result<(), RestError> {
        let request = self.rest.request(Method::DELETE, &format!("instances/{id}"))?;
        match self.rest.send(request).await {
            Ok(_) | Err(RestError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn odd(&self, detail: String) -> RestError {
        self.rest.odd(detail)
    }

    async fn resource<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, RestError> {
        match self.rest.json(self.rest.request(Method::GET, path)?).await {
            Ok(found) => Ok(Some(found)),
            Err(RestError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A file on its way, piece by piece.
#[derive(Debug)]
pub struct Download<'a> {
    rest: &'a Rest,
    response: Response,
}

impl Download<'_> {
    /// # Errors
    /// The connection broke: what came so far is not the file.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RestError> {
        self.rest.chunk(&mut self.response).await
    }

    pub(crate) fn odd(&self, detail: String) -> RestError {
        self.rest.odd(detail)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UploadAnswer {
    status: String,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "ID")]
    id: OrthancId,
    #[serde(rename = "Type")]
    level: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangesAnswer {
    changes: Vec<ChangeAnswer>,
    last: i64,
    #[serde(default)]
    done: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeAnswer {
    seq: i64,
    change_type: String,
    #[serde(rename = "ID")]
    id: String,
}

impl From<ChangesAnswer> for Changes {
    fn from(answer: ChangesAnswer) -> Self {
        // A change of something that has no such identifier (a modality, a job) is not for us.
        let changes = answer.changes.into_iter().filter_map(|change| {
            let id = OrthancId::parse(&change.id).ok()?;
            Some(Change { seq: change.seq, kind: ChangeKind::parse(&change.change_type), id })
        });
        Self { changes: changes.collect(), last: answer.last, done: answer.done }
    }
}

impl ChangeKind {
    fn parse(name: &str) -> Self {
        match name {
            "NewStudy" => Self::NewStudy,
            "NewSeries" => Self::NewSeries,
            "NewInstance" => Self::NewInstance,
            "StableStudy" => Self::StableStudy,
            "StableSeries" => Self::StableSeries,
            "Deleted" => Self::Deleted,
            _ => Self::Other,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StudyAnswer {
    #[serde(rename = "ID")]
    id: OrthancId,
    #[serde(default)]
    is_stable: bool,
    #[serde(default)]
    series: Vec<OrthancId>,
    main_dicom_tags: StudyTags,
    #[serde(default)]
    patient_main_dicom_tags: PatientTags,
}

#[derive(Default, Deserialize)]
struct PatientTags {
    #[serde(rename = "PatientID", default)]
    patient_id: String,
}

#[derive(Deserialize)]
struct StudyTags {
    #[serde(rename = "StudyInstanceUID", default)]
    study_instance_uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SeriesAnswer {
    #[serde(rename = "ID")]
    id: OrthancId,
    parent_study: OrthancId,
    #[serde(default)]
    is_stable: bool,
    main_dicom_tags: SeriesTags,
}

#[derive(Deserialize)]
struct SeriesTags {
    #[serde(rename = "SeriesInstanceUID", default)]
    series_instance_uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceAnswer {
    #[serde(rename = "ID")]
    id: OrthancId,
    #[serde(default)]
    file_size: u64,
    main_dicom_tags: InstanceTags,
}

#[derive(Deserialize)]
struct InstanceTags {
    #[serde(rename = "SOPInstanceUID", default)]
    sop_instance_uid: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_identifiers_of_orthanc_can_stand_in_a_path() {
        assert!(OrthancId::parse("0a49bedc-11223344-55667788-99aabbcc-ddeeff00").is_ok());
        for text in
            ["", "..", "0a49bedc-11223344-55667788-99aabbcc", "0a49bedc-11223344-55667788-99aabbcc-../../x"]
        {
            assert_eq!(OrthancId::parse(text), Err(BadOrthancId), "{text:?}");
        }
    }

    #[test]
    fn changes_are_read_as_orthanc_writes_them() {
        let text = r#"{"Changes":[
            {"ChangeType":"StableStudy","Date":"20261120T210007","ID":"0a49bedc-11223344-55667788-99aabbcc-ddeeff00",
             "Path":"/studies/0a49bedc-11223344-55667788-99aabbcc-ddeeff00","ResourceType":"Study","Seq":29},
            {"ChangeType":"UpdatedModalities","Date":"20261120T210008","ID":"","Path":"","ResourceType":"Study","Seq":30}],
            "Done":false,"Last":30}"#;
        let changes = Changes::from(serde_json::from_str::<ChangesAnswer>(text).unwrap());
        assert_eq!((changes.last, changes.done, changes.changes.len()), (30, false, 1));
        assert_eq!((changes.changes[0].seq, changes.changes[0].kind), (29, ChangeKind::StableStudy));
    }
}
