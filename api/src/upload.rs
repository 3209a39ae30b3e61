//! DICOM files that come over HTTP, from the socket to spool and ledger.
//!
//! A file streams through: whatever its size, a few chunks of it are in memory. All files
//! of one request are one association of the door `upload`, released when the request was
//! read to its end, so that readiness judges them like any other delivery. The work goes
//! on when the caller hangs up: what came whole is kept and recorded.

use admission::{AdmissionError, Admitted};
use bytes::Bytes;
use dicom_object::FileMetaTable;
use futures_util::{Stream, StreamExt};
use imaging::{SopClassUid, SopInstanceUid, Uid};
use ledger::{AssociationId, Door, Ending, NewAssociation};
use spool::{FileMeta, Incoming, KeepError, Outcome, Spool};
use tokio::sync::mpsc;

use crate::{
    error::{ApiError, ApiResult, Code},
    state::AppState,
};

/// PS3.10 §7.1: 128 bytes of preamble, `DICM`, and the group length element of 12 bytes.
const MAGIC_AT: usize = 128;
const META_AT: usize = MAGIC_AT + 4 + 12;
/// More meta information than this is no DICOM file of this world.
const META_BYTES_MAX: usize = 64 << 10;
/// Chunks between socket and disk.
const CHUNKS_WAITING: usize = 8;

/// Why a file is not even looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAFile {
    #[error("the file has no DICM prefix behind a preamble of 128 bytes (PS3.10 §7.1)")]
    NoMagic,
    #[error("the file meta information has no group length (0002,0000)")]
    NoGroupLength,
    #[error("the file meta information is too long")]
    MetaTooLong,
    #[error(
        "the file meta information cannot be read, or names no SOP class, SOP instance or transfer syntax"
    )]
    Meta,
    #[error("the file ends inside its meta information")]
    Truncated,
}

/// Why a file was not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntakeError {
    #[error(transparent)]
    NotAFile(#[from] NotAFile),
    #[error(transparent)]
    Keep(#[from] KeepError),
}

/// A file on its way into the spool. Its calls block.
enum Intake {
    Front(Spool, Vec<u8>),
    Dataset(Box<Incoming>),
}

impl Intake {
    fn push(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        match self {
            Self::Dataset(incoming) => incoming.write(bytes)?,
            Self::Front(spool, front) => {
                front.extend_from_slice(bytes);
                if let Some(dataset_at) = dataset_offset(front)?
                    && front.len() >= dataset_at
                {
                    let mut incoming = spool.receive(read_meta(&front[..dataset_at])?)?;
                    incoming.write(&front[dataset_at..])?;
                    *self = Self::Dataset(Box::new(incoming));
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Outcome, IntakeError> {
        match self {
            Self::Dataset(incoming) => Ok(incoming.finish()?),
            Self::Front(_, front) if front.len() < META_AT => Err(NotAFile::NoMagic.into()),
            Self::Front(..) => Err(NotAFile::Truncated.into()),
        }
    }
}

/// Where the data set begins, as soon as enough is there to say so.
fn dataset_offset(front: &[u8]) -> Result<Option<usize>, NotAFile> {
    let Some(head) = front.get(MAGIC_AT..META_AT) else { return Ok(None) };
    let (magic, element) = head.split_at(4);
    if magic != b"DICM" {
        return Err(NotAFile::NoMagic);
    }
    // PS3.10 §7.1: (0002,0000) UL, explicit VR little endian, and always the first.
    let Some(length) = element.strip_prefix(b"\x02\x00\x00\x00UL\x04\x00") else {
        return Err(NotAFile::NoGroupLength);
    };
    let length: [u8; 4] = length.try_into().map_err(|_| NotAFile::NoGroupLength)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > META_BYTES_MAX {
        return Err(NotAFile::MetaTooLong);
    }
    Ok(Some(META_AT + length))
}

fn read_meta(front: &[u8]) -> Result<FileMeta, NotAFile> {
    let table = FileMetaTable::from_reader(&front[MAGIC_AT..]).map_err(|_| NotAFile::Meta)?;
    Ok(FileMeta {
        sop_class: SopClassUid::parse(table.media_storage_sop_class_uid()).map_err(|_| NotAFile::Meta)?,
        sop_instance: SopInstanceUid::parse(table.media_storage_sop_instance_uid())
            .map_err(|_| NotAFile::Meta)?,
        transfer_syntax: Uid::parse(table.transfer_syntax()).map_err(|_| NotAFile::Meta)?,
        calling_ae_title: table.source_application_entity_title.unwrap_or_default().trim().to_owned(),
    })
}

/// What became of one file of an upload.
#[derive(Debug)]
pub(crate) enum Arrival {
    Admitted(Admitted),
    /// It is no DICOM file and is not kept, for this reason.
    Refused(String),
}

/// One request's files.
#[derive(Debug)]
pub(crate) struct Upload {
    state: AppState,
    association: AssociationId,
}

impl Upload {
    pub(crate) async fn begin(state: AppState, caller: String, peer: String) -> ApiResult<Self> {
        let association = state
            .ledger
            .open_association(&NewAssociation {
                door: Door::Upload,
                calling_ae: caller,
                called_ae: String::new(),
                peer,
                node: state.node.clone(),
                boot: state.boot.clone(),
                opened_at: state.now(),
            })
            .await?;
        Ok(Self { state, association })
    }

    /// Says whether the request was read to its end.
    pub(crate) async fn end(self, ending: Ending) -> ApiResult<()> {
        Ok(self.state.ledger.end_association(self.association, ending, self.state.now()).await?)
    }

    /// Takes one file.
    ///
    /// # Errors
    /// When the request breaks off, or spool or ledger fail: the rest need not be sent.
    pub(crate) async fn take<E>(&self, chunks: impl Stream<Item = Result<Bytes, E>>) -> ApiResult<Arrival>
    where
        ApiError: From<E>,
    {
        match self.keep(chunks).await? {
            Ok(arrival) => Ok(Arrival::Admitted(self.record(arrival).await?)),
            Err(IntakeError::NotAFile(reason)) => Ok(Arrival::Refused(reason.to_string())),
            Err(IntakeError::Keep(error)) => Err(error.into()),
        }
    }

    async fn keep<E>(
        &self,
        chunks: impl Stream<Item = Result<Bytes, E>>,
    ) -> ApiResult<Result<admission::Arrival, IntakeError>>
    where
        ApiError: From<E>,
    {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_WAITING);
        let spool = self.state.spool.clone();
        let (whole, is_whole) = tokio::sync::oneshot::channel::<()>();
        let writer = tokio::task::spawn_blocking(move || {
            let mut intake = Intake::Front(spool.clone(), Vec::new());
            while let Some(chunk) = receiver.blocking_recv() {
                intake.push(&chunk)?;
            }
            // Chunks also cease when the request breaks off: then nothing is kept.
            match is_whole.blocking_recv() {
                Ok(()) => Ok(admission::settle(&spool, intake.finish()?).map_err(KeepError::from)?),
                Err(_) => Err(NotAFile::Truncated.into()),
            }
        });
        let mut chunks = std::pin::pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            // A writer that has given up still lets the request be read on, to the next file.
            if sender.send(chunk?).await.is_err() {
                continue;
            }
        }
        drop(sender);
        // A writer that has given up has said why.
        whole.send(()).unwrap_or_default();
        writer.await.map_err(ApiError::internal)
    }

    async fn record(&self, arrival: admission::Arrival) -> ApiResult<Admitted> {
        let (state, now) = (&self.state, self.state.now());
        let admitted =
            admission::record(&state.spool, &state.ledger, self.association, vec![arrival], now).await?;
        admitted.into_iter().next().ok_or_else(|| ApiError::internal("an instance was not answered for"))
    }
}

impl From<AdmissionError> for ApiError {
    fn from(error: AdmissionError) -> Self {
        match error {
            AdmissionError::Ledger(error) => error.into(),
            AdmissionError::FirstUnrecorded(_) | AdmissionError::Quarantine(_) => Self::internal(error),
        }
    }
}

impl From<KeepError> for ApiError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Full => Self::because(Code::StorageFull, "the disk is full or below its watermark"),
            KeepError::Io(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(length: u32) -> Vec<u8> {
        let mut front = vec![0; MAGIC_AT];
        front.extend_from_slice(b"DICM\x02\x00\x00\x00UL\x04\x00");
        front.extend_from_slice(&length.to_le_bytes());
        front
    }

    #[test]
    fn the_data_set_begins_behind_the_group_that_states_its_length() {
        assert_eq!(dataset_offset(&front(200)).unwrap(), Some(META_AT + 200));
        assert_eq!(dataset_offset(&front(200)[..140]).unwrap(), None);
    }

    #[test]
    fn what_is_no_dicom_file_is_named() {
        assert!(matches!(dataset_offset(&[0xff; 400]), Err(NotAFile::NoMagic)));
        assert!(matches!(dataset_offset(&front(1 << 20)), Err(NotAFile::MetaTooLong)));
        let mut without_length = front(8);
        without_length[MAGIC_AT + 4 + 2] = 1;
        assert!(matches!(dataset_offset(&without_length), Err(NotAFile::NoGroupLength)));
    }
}
