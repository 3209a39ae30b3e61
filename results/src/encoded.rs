//! A finished object: its identifiers and its bytes.

use std::fmt;

use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTable, meta::FileMetaTableBuilder};
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use imaging::{SeriesUid, SopClassUid, SopInstanceUid, StudyUid};

use crate::{
    EncodeError, Role,
    dataset::{DataSet, uid},
};

/// Names the software that wrote a file (PS3.7 §D.3.3.2); one for all versions.
const IMPLEMENTATION_CLASS_UID: &str = "2.25.224604383279043127246172934651783921937";

/// At most 16 characters (VR SH).
const IMPLEMENTATION_VERSION_NAME: &str = concat!("OVERREAD_", env!("CARGO_PKG_VERSION"));

/// Where an object lies: what another object needs to refer to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub study: StudyUid,
    pub series: SeriesUid,
    pub sop_class: SopClassUid,
    pub sop_instance: SopInstanceUid,
}

impl Reference {
    /// The reference to an object by its own data set.
    ///
    /// # Errors
    /// Names the identifier that is missing or malformed.
    pub(crate) fn to(dataset: &DataSet) -> Result<Self, EncodeError> {
        let required = |tag, name| uid(dataset, tag).ok_or(EncodeError::Predecessor(name));
        Ok(Self {
            study: required(tags::STUDY_INSTANCE_UID, "Study Instance UID")?.into(),
            series: required(tags::SERIES_INSTANCE_UID, "Series Instance UID")?.into(),
            sop_class: required(tags::SOP_CLASS_UID, "SOP Class UID")?.into(),
            sop_instance: required(tags::SOP_INSTANCE_UID, "SOP Instance UID")?.into(),
        })
    }
}

/// One object as a whole Part 10 file.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    pub role: Role,
    pub reference: Reference,
    pub bytes: Vec<u8>,
}

impl Encoded {
    /// The whole data set in Explicit VR Little Endian.
    pub(crate) fn write(role: Role, dataset: &DataSet) -> Result<Self, EncodeError> {
        Self::begin(role, dataset, uids::EXPLICIT_VR_LITTLE_ENDIAN)
    }

    /// The head of a file whose last elements the caller appends to the bytes, byte by byte as
    /// Explicit VR Little Endian.
    pub(crate) fn begin(role: Role, dataset: &DataSet, transfer_syntax: &str) -> Result<Self, EncodeError> {
        let reference = Reference::to(dataset)?;
        let mut bytes = vec![0; 128];
        bytes.extend_from_slice(b"DICM");
        meta(&reference, transfer_syntax)?
            .write(&mut bytes)
            .map_err(|error| EncodeError::Meta(Box::new(error)))?;
        dataset.write_dataset_with_ts(&mut bytes, &EXPLICIT_VR_LITTLE_ENDIAN.erased())?;
        Ok(Self { role, reference, bytes })
    }

    pub fn sop_instance(&self) -> &SopInstanceUid {
        &self.reference.sop_instance
    }
}

fn meta(reference: &Reference, transfer_syntax: &str) -> Result<FileMetaTable, EncodeError> {
    FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(reference.sop_class.as_str())
        .media_storage_sop_instance_uid(reference.sop_instance.as_str())
        .transfer_syntax(transfer_syntax)
        .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(IMPLEMENTATION_VERSION_NAME)
        .build()
        .map_err(|error| EncodeError::Meta(Box::new(error)))
}

impl fmt::Debug for Encoded {
    /// Without the bytes, which hold patient data.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Encoded")
            .field("role", &self.role)
            .field("sop_instance", &self.reference.sop_instance)
            .field("size_bytes", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use imaging::Uid;

    use super::*;

    #[test]
    fn implementation_names_keep_their_limits() {
        assert!(IMPLEMENTATION_VERSION_NAME.len() <= 16);
        assert!(Uid::parse(IMPLEMENTATION_CLASS_UID).is_ok());
    }
}
