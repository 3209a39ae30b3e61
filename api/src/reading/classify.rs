//! Runs a classification over the files of a form, or remembers what it said.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use inference::{Control, Findings, Model, Urgency};
use ledger::Millis;
use pipeline::{ReadOnce, ReadOnceError, read_once};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{form::Form, png, unpack};
use crate::error::{ApiError, ApiResult, Code};

/// So long an answer stands for the same bytes and the same model.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);
const REMEMBERED_MAX: usize = 64;
/// Of all answers together: a heatmap has a picture for every slice.
const REMEMBERED_BYTES_MAX: usize = 256 << 20;
/// Requests whose images are in memory.
const AT_ONCE: usize = 2;

/// What a model said about an image.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) class: String,
    pub(crate) confidence: f64,
    /// By class.
    pub(crate) probabilities: serde_json::Map<String, Value>,
    pub(crate) key_slice: usize,
    pub(crate) findings: Value,
    /// Base64: a picture of the key slice, and the DICOM object.
    pub(crate) heatmap: Option<(String, String)>,
}

impl Reading {
    /// What takes up room; the rest is a few words.
    fn bytes(&self) -> usize {
        self.heatmap.as_ref().map_or(0, |(png, dicom)| png.len() + dicom.len())
    }
}

type Key = (String, String);

/// The answers of the last hour, and room for new ones.
#[derive(Debug)]
pub(crate) struct Readings {
    room: Arc<Semaphore>,
    known: Mutex<HashMap<Key, (Millis, Arc<Reading>)>>,
}

impl Default for Readings {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(AT_ONCE)), known: Mutex::default() }
    }
}

impl Readings {
    /// The answer for `form`, and whether it was known.
    pub(crate) async fn read(
        &self,
        model: &Arc<Model>,
        form: &Arc<Form>,
        now: Millis,
    ) -> ApiResult<(Arc<Reading>, bool)> {
        let key = (form.digest.clone(), model.package().digest.clone());
        if let Some(known) = self.recall(&key, now) {
            return Ok((known, true));
        }
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(ApiError::internal)?;
        let (model, form) = (Arc::clone(model), Arc::clone(form));
        let work = move || {
            let _room = permit;
            let files = unpack(form.folder.path(), &form.files)?;
            classify(&model, &files)
        };
        let reading = Arc::new(tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)??);
        self.remember(key, now, &reading);
        Ok((reading, false))
    }

    fn recall(&self, key: &Key, now: Millis) -> Option<Arc<Reading>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, reading) = known.get(key)?;
        (now.since(*at) < REMEMBERED_FOR).then(|| Arc::clone(reading))
    }

    fn remember(&self, key: Key, now: Millis, reading: &Arc<Reading>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| now.since(*at) < REMEMBERED_FOR);
        if reading.bytes() > REMEMBERED_BYTES_MAX {
            return;
        }
        known.insert(key, (now, Arc::clone(reading)));
        while known.len() > REMEMBERED_MAX || bytes_of(&known) > REMEMBERED_BYTES_MAX {
            let oldest = known.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            known.remove(&oldest);
        }
    }
}

fn bytes_of(known: &HashMap<Key, (Millis, Arc<Reading>)>) -> usize {
    known.values().map(|(_, reading)| reading.bytes()).sum()
}

fn classify(model: &Model, files: &[PathBuf]) -> ApiResult<Reading> {
    let order = ReadOnce { installation: Uuid::new_v4(), written_at: OffsetDateTime::now_utc() };
    let control = Control { progress: &|_| {}, cancelled: &|| false, urgency: Urgency::Interactive };
    let read = read_once(model, files, &order, &control)?;
    let Ok(Findings::Classification(found)) = serde_json::from_value(read.findings.clone()) else {
        let reason =
            read.findings.get("reason").and_then(Value::as_str).unwrap_or("the model gave no answer");
        return Err(ApiError::because(Code::InvalidDicom, format!("not analysed: {reason}")));
    };
    let heatmap = match read.objects.iter().find(|object| object.role == "heatmap") {
        Some(object) => {
            let picture =
                png::of_frame(&object.encoded.bytes, found.key_slice).map_err(ApiError::internal)?;
            Some((STANDARD.encode(picture), STANDARD.encode(&object.encoded.bytes)))
        }
        None => None,
    };
    let winner = &found.classes[found.winner];
    Ok(Reading {
        class: winner.name.clone(),
        confidence: winner.probability,
        probabilities: found
            .classes
            .iter()
            .map(|class| (class.name.clone(), json!(class.probability)))
            .collect(),
        key_slice: found.key_slice,
        findings: read.findings,
        heatmap,
    })
}

impl From<ReadOnceError> for ApiError {
    fn from(error: ReadOnceError) -> Self {
        match &error {
            ReadOnceError::NoInstance(_) | ReadOnceError::NoSeries(_) => {
                Self::because(Code::InvalidDicom, error.to_string())
            }
            ReadOnceError::Make(_) | ReadOnceError::Read { .. } | ReadOnceError::Analysis(_) => {
                Self::internal(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(bytes: usize) -> Arc<Reading> {
        Arc::new(Reading {
            class: "bleed".to_owned(),
            confidence: 0.5,
            probabilities: serde_json::Map::new(),
            key_slice: 0,
            findings: Value::Null,
            heatmap: Some((String::new(), "A".repeat(bytes))),
        })
    }

    #[test]
    fn what_is_remembered_is_bounded_by_its_bytes() {
        let readings = Readings::default();
        let key = |number: usize| (number.to_string(), "model".to_owned());
        let at = |number: usize| Millis(i64::try_from(number).unwrap());
        let half = reading(REMEMBERED_BYTES_MAX / 2);
        for number in 0..3 {
            readings.remember(key(number), at(number), &half);
        }
        readings.remember(key(3), at(3), &reading(REMEMBERED_BYTES_MAX + 1));
        let known: Vec<_> = (0..4).map(|number| readings.recall(&key(number), at(3)).is_some()).collect();
        assert_eq!(
            known,
            [false, true, true, false],
            "the oldest gave way, and nothing to what does not fit"
        );
        for number in 0..=REMEMBERED_MAX {
            readings.remember(key(number), at(number), &reading(1));
        }
        assert!(readings.recall(&key(0), at(0)).is_none());
    }
}
