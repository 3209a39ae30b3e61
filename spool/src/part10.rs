//! The Part 10 file around a data set, with a seal in its file meta information.
//!
//! A kept file starts with preamble, prefix and a file meta group that we write
//! ourselves (PS3.10 §7.1), then come the bytes of the data set as they were received.
//! Private information (0002,0102) holds the seal: the length and the digest of that
//! data set. So a file proves by itself that it is whole and unchanged, without the ledger.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use imaging::{SopClassUid, SopInstanceUid, Uid};

use crate::digest::Digest;

/// Implementation Class UID (0002,0012) of everything that Overread writes.
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.338536924800472774212931051818877722948";
/// Implementation Version Name (0002,0013), at most 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = "OVERREAD_0_1";
/// Private Information Creator UID (0002,0100) of the seal.
const SEAL_CREATOR_UID: &str = "2.25.169877626405894695470488171631275977807";

const PREAMBLE_BYTES: usize = 128;
const PREFIX: &[u8; 4] = b"DICM";
const SEAL_BYTES: usize = 8 + 32;

/// What is known of an instance before its data set: the command and the presentation context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    pub sop_class: SopClassUid,
    pub sop_instance: SopInstanceUid,
    pub transfer_syntax: Uid,
    /// AE title of the sender; empty when it did not come over DIMSE.
    pub calling_ae_title: String,
}

/// Length and digest of the data set that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) dataset_bytes: u64,
    pub(crate) digest: Digest,
}

impl Seal {
    pub(crate) fn encode(&self) -> [u8; SEAL_BYTES] {
        let mut bytes = [0; SEAL_BYTES];
        bytes[..8].copy_from_slice(&self.dataset_bytes.to_le_bytes());
        bytes[8..].copy_from_slice(self.digest.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SEAL_BYTES] = bytes.try_into().ok()?;
        let (length, digest) = bytes.split_at(8);
        let seal = Self {
            dataset_bytes: u64::from_le_bytes(length.try_into().ok()?),
            digest: Digest::from_bytes(digest.try_into().ok()?),
        };
        (bytes != &[0; SEAL_BYTES]).then_some(seal)
    }
}

/// Appends preamble, prefix and file meta information to `out`; gives the offset of the seal's value.
pub(crate) fn write_prologue(meta: &FileMeta, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.resize(start + PREAMBLE_BYTES, 0);
    out.extend_from_slice(PREFIX);
    let group = out.len();
    element(out, 0x0000, b"UL", &[0; 4]);
    element(out, 0x0001, b"OB", &[0, 1]);
    uid(out, 0x0002, meta.sop_class.as_str());
    uid(out, 0x0003, meta.sop_instance.as_str());
    uid(out, 0x0010, meta.transfer_syntax.as_str());
    uid(out, 0x0012, IMPLEMENTATION_CLASS_UID);
    padded(out, 0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b' ');
    if !meta.calling_ae_title.is_empty() {
        padded(out, 0x0016, b"AE", &meta.calling_ae_title, b' ');
    }
    uid(out, 0x0100, SEAL_CREATOR_UID);
    element(out, 0x0102, b"OB", &[0; SEAL_BYTES]);
    let length = u32::try_from(out.len() - group - 12).expect("a meta group has less than 1 kB");
    out[group + 8..group + 12].copy_from_slice(&length.to_le_bytes());
    out.len() - SEAL_BYTES
}

fn uid(out: &mut Vec<u8>, number: u16, value: &str) {
    padded(out, number, b"UI", value, 0);
}

fn padded(out: &mut Vec<u8>, number: u16, vr: &[u8; 2], value: &str, padding: u8) {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(padding);
    }
    element(out, number, vr, &value);
}

fn element(out: &mut Vec<u8>, number: u16, vr: &[u8; 2], value: &[u8]) {
    out.extend_from_slice(&2_u16.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(vr);
    let length = u16::try_from(value.len()).expect("meta values are short");
    if vr == b"OB" {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&u32::from(length).to_le_bytes());
    } else {
        out.extend_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(value);
}

/// Bytes that are no Part 10 file that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPart10 {
    #[error("there is no DICM prefix after 128 bytes")]
    Prefix,
    #[error("the file meta information is cut or malformed")]
    Meta,
    #[error("the file meta information names no transfer syntax (0002,0010)")]
    TransferSyntax,
}

/// The front of a Part 10 file, ours or one that was brought: what its file meta information
/// says, and where its data set begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prologue {
    /// Media Storage SOP Class UID (0002,0002).
    pub sop_class: Option<SopClassUid>,
    /// Media Storage SOP Instance UID (0002,0003).
    pub sop_instance: Option<SopInstanceUid>,
    pub transfer_syntax: Uid,
    /// Source Application Entity Title (0002,0016); empty when there is none.
    pub source_ae_title: String,
    pub dataset_offset: usize,
    pub(crate) seal: Option<Seal>,
}

impl Prologue {
    /// The most bytes at the front of one of our files that this needs to see.
    pub(crate) const OWN_BYTES_MAX: usize = 2048;
    /// The most bytes at the front of any file that [`Prologue::read`] looks at.
    const BYTES_MAX: u64 = 1 << 20;

    /// Reads the front of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read or is no Part 10 file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut front = Vec::with_capacity(4096);
        File::open(path)?.take(Self::BYTES_MAX).read_to_end(&mut front)?;
        Self::parse(&front).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Reads preamble, prefix and group 0002 at the front of `bytes`. The group ends where another
    /// group begins: a missing or wrong group length (0002,0000) does no harm.
    ///
    /// # Errors
    /// When this is no Part 10 file, or names no transfer syntax.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotPart10> {
        if bytes.get(PREAMBLE_BYTES..PREAMBLE_BYTES + 4) != Some(PREFIX) {
            return Err(NotPart10::Prefix);
        }
        let mut at = PREAMBLE_BYTES + PREFIX.len();
        let (mut sop_class, mut sop_instance, mut transfer_syntax) = (None, None, None);
        let (mut source, mut creator, mut private) = ("", &[][..], &[][..]);
        while bytes.get(at..at + 2) == Some(&[2, 0]) {
            let (number, value, next) = meta_element(bytes, at).ok_or(NotPart10::Meta)?;
            match number {
                0x0002 => sop_class = uid_of(value).map(SopClassUid::from),
                0x0003 => sop_instance = uid_of(value).map(SopInstanceUid::from),
                0x0010 => transfer_syntax = uid_of(value),
                0x0016 => source = std::str::from_utf8(value).unwrap_or("").trim_matches([' ', '\0']),
                0x0100 => creator = value,
                0x0102 => private = value,
                _ => {}
            }
            at = next;
        }
        let ours = creator.strip_suffix(&[0]).unwrap_or(creator) == SEAL_CREATOR_UID.as_bytes();
        Ok(Self {
            sop_class,
            sop_instance,
            transfer_syntax: transfer_syntax.ok_or(NotPart10::TransferSyntax)?,
            source_ae_title: source.to_owned(),
            seal: if ours { Seal::decode(private) } else { None },
            dataset_offset: at,
        })
    }
}

fn uid_of(value: &[u8]) -> Option<Uid> {
    Uid::parse(std::str::from_utf8(value).ok()?).ok()
}

/// One element of group 0002 (always Explicit VR Little Endian): number, value, offset of the next.
fn meta_element(bytes: &[u8], at: usize) -> Option<(u16, &[u8], usize)> {
    let header = bytes.get(at..at + 8)?;
    let number = u16::from_le_bytes([header[2], header[3]]);
    let (length, start) = match &header[4..6] {
        b"OB" | b"OW" | b"UN" | b"SQ" | b"UT" => {
            let length = bytes.get(at + 8..at + 12)?.try_into().ok()?;
            (u32::from_le_bytes(length) as usize, at + 12)
        }
        _ => (usize::from(u16::from_le_bytes([header[6], header[7]])), at + 8),
    };
    let end = start.checked_add(length)?;
    Some((number, bytes.get(start..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> FileMeta {
        FileMeta {
            sop_class: SopClassUid::parse("1.2.840.10008.5.1.4.1.1.4").unwrap(),
            sop_instance: SopInstanceUid::parse("1.2.3.4").unwrap(),
            transfer_syntax: Uid::parse("1.2.840.10008.1.2.1").unwrap(),
            calling_ae_title: "MODALITY1".to_owned(),
        }
    }

    #[test]
    fn a_sealed_prologue_reads_back() {
        let mut bytes = Vec::new();
        let at = write_prologue(&meta(), &mut bytes);
        let seal = Seal { dataset_bytes: 7, digest: Digest::of(b"dataset") };
        bytes[at..].copy_from_slice(&seal.encode());
        bytes.extend_from_slice(b"dataset");
        let prologue = Prologue::parse(&bytes).unwrap();
        assert_eq!(prologue.seal, Some(seal));
        assert_eq!(prologue.source_ae_title, "MODALITY1");
        assert_eq!(&bytes[prologue.dataset_offset..], b"dataset");
    }

    #[test]
    fn a_prologue_without_its_seal_value_is_unsealed() {
        let mut bytes = Vec::new();
        write_prologue(&meta(), &mut bytes);
        assert_eq!(Prologue::parse(&bytes).unwrap().seal, None);
    }

    #[test]
    fn dicom_object_reads_what_is_written() {
        let mut bytes = Vec::new();
        write_prologue(&meta(), &mut bytes);
        let table = dicom_object::FileMetaTable::from_reader(&bytes[PREAMBLE_BYTES..]).unwrap();
        assert_eq!(table.media_storage_sop_instance_uid(), "1.2.3.4");
        assert_eq!(table.transfer_syntax(), "1.2.840.10008.1.2.1");
    }

    #[test]
    fn cut_files_are_no_part_10_files() {
        let mut bytes = Vec::new();
        write_prologue(&meta(), &mut bytes);
        for length in 0..bytes.len() {
            let Err(error) = Prologue::parse(&bytes[..length]) else { continue };
            assert!(length < 132 || error != NotPart10::Prefix, "{length}: {error}");
        }
    }
}
