//! STOW-RS (PS3.18 §10.5). The proof of arrival is a search by QIDO-RS (§10.6).

use bytes::{Bytes, BytesMut};
use orthanc_bridge::{Connection, ConnectionError, Rest};
use reqwest::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use super::{Proof, SendError, Shipment};

/// PS3.18 Table I.2-2: the store is full or busy; the same object may be welcome later.
const OUT_OF_RESOURCES: std::ops::RangeInclusive<u64> = 0xA700..=0xA7FF;
/// PS3.7 §C.5.5: something went wrong there, and nothing is said about the object.
const PROCESSING_FAILURE: u64 = 0x0110;

#[derive(Debug)]
pub(crate) struct Stow {
    rest: Rest,
}

impl Stow {
    pub(super) fn new(connection: Connection) -> Result<Self, ConnectionError> {
        Ok(Self { rest: Rest::new(connection)? })
    }

    pub(super) async fn send(&self, shipment: Shipment) -> Result<(), SendError> {
        let boundary = format!("overread-{}", uuid::Uuid::new_v4().simple());
        let request = self
            .rest
            .request(Method::POST, "studies")?
            .header(header::ACCEPT, "application/dicom+json")
            .header(
                header::CONTENT_TYPE,
                format!("multipart/related; type=\"application/dicom\"; boundary={boundary}"),
            )
            .body(multipart(&boundary, &shipment.file));
        // 409 carries the same body as 200 and 202: it says which instance failed, and why.
        let response = self.rest.send_or(request, StatusCode::CONFLICT).await?;
        let answer: StoreAnswer = self.rest.read_json(response).await?;
        answer.judge(shipment.sop_instance.as_str())
    }

    pub(super) async fn prove(&self, shipment: &Shipment) -> Result<Proof, SendError> {
        let path = format!(
            "studies/{}/series/{}/instances?SOPInstanceUID={}",
            shipment.study, shipment.series, shipment.sop_instance
        );
        let request = self.rest.request(Method::GET, &path)?.header(header::ACCEPT, "application/dicom+json");
        match self.rest.send(request).await {
            Ok(response) if response.status() == StatusCode::NO_CONTENT => Ok(Proof::Absent),
            Ok(response) => {
                let found: Vec<Value> = self.rest.read_json(response).await?;
                Ok(if found.is_empty() { Proof::Absent } else { Proof::Arrived })
            }
            // Some archives say so when they do not know the study.
            Err(orthanc_bridge::RestError::NotFound { .. }) => Ok(Proof::Absent),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn check(&self) -> Result<(), SendError> {
        let request = self
            .rest
            .request(Method::GET, "studies?limit=1")?
            .header(header::ACCEPT, "application/dicom+json");
        self.rest.send(request).await?;
        Ok(())
    }
}

fn multipart(boundary: &str, file: &Bytes) -> Bytes {
    let head = format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n");
    let tail = format!("\r\n--{boundary}--\r\n");
    let mut body = BytesMut::with_capacity(head.len() + file.len() + tail.len());
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(file);
    body.extend_from_slice(tail.as_bytes());
    body.freeze()
}

/// PS3.18 Table I.1-1, the parts that are judged.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StoreAnswer {
    /// Failed SOP Sequence (0008,1198)
    #[serde(rename = "00081198")]
    failed: Items,
    /// Referenced SOP Sequence (0008,1199)
    #[serde(rename = "00081199")]
    referenced: Items,
}

#[derive(Debug, Default, Deserialize)]
struct Items {
    #[serde(rename = "Value", default)]
    value: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    /// Referenced SOP Instance UID (0008,1155)
    #[serde(rename = "00081155", default)]
    sop_instance: Values,
    /// Failure Reason (0008,1197)
    #[serde(rename = "00081197", default)]
    reason: Values,
}

#[derive(Debug, Default, Deserialize)]
struct Values {
    #[serde(rename = "Value", default)]
    value: Vec<Value>,
}

impl StoreAnswer {
    fn judge(&self, sop_instance: &str) -> Result<(), SendError> {
        let names =
            |item: &&Item| item.sop_instance.value.iter().any(|uid| uid.as_str() == Some(sop_instance));
        // An archive that could not even read the UID may leave it out: one was sent, so it is that one.
        if let Some(failed) = self.failed.value.iter().find(names).or(self.failed.value.first()) {
            let reason = failed.reason.value.first().and_then(Value::as_u64);
            let text = match reason {
                Some(reason) => format!("failure reason {reason:#06x}"),
                None => "no failure reason was given".to_owned(),
            };
            return Err(match reason {
                Some(reason) if OUT_OF_RESOURCES.contains(&reason) || reason == PROCESSING_FAILURE => {
                    SendError::Unavailable(format!("the archive could not store the object now: {text}"))
                }
                Some(_) | None => SendError::Refused(text),
            });
        }
        if self.referenced.value.iter().any(|item| names(&item)) {
            return Ok(());
        }
        Err(SendError::Unavailable("the archive's answer does not name the object".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn judge(json: &str) -> Result<(), SendError> {
        serde_json::from_str::<StoreAnswer>(json).unwrap().judge("1.2.3")
    }

    #[test]
    fn stored_is_what_the_archive_names() {
        let stored = r#"{"00081190":{"vr":"UR","Value":["x"]},"00081198":{"vr":"SQ"},
            "00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2.3"]}}]}}"#;
        assert!(judge(stored).is_ok());
        assert!(matches!(judge("{}"), Err(SendError::Unavailable(_))));
    }

    #[test]
    fn success_with_a_failed_item_is_no_success() {
        let failed = |reason: u64| {
            format!(
                r#"{{"00081198":{{"vr":"SQ","Value":[{{"00081155":{{"vr":"UI","Value":["1.2.3"]}},
                "00081197":{{"vr":"US","Value":[{reason}]}}}}]}}}}"#
            )
        };
        assert!(matches!(judge(&failed(0xC000)), Err(SendError::Refused(_))));
        assert!(matches!(judge(&failed(0x0122)), Err(SendError::Refused(_))));
        assert!(matches!(judge(&failed(0xA700)), Err(SendError::Unavailable(_))));
        assert!(matches!(judge(&failed(0x0110)), Err(SendError::Unavailable(_))));
    }
}
