//! The head of an instance: everything before the pixels, and where the pixels lie.
//!
//! Reads Part 10 files, files that lack the preamble, the meta group or both, and plain data
//! sets in memory. Nothing is believed before [`crate::scan`] has walked over it, so memory
//! is bounded by [`HEAD_BYTES_MAX`] whatever the lengths claim. Pixels are not touched.

use std::{
    fs::File,
    io::{self, Cursor, Read},
    os::unix::fs::FileExt as _,
    path::Path,
};

use dicom_core::{Tag, VR, dictionary::DataDictionary as _, header::Header};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex as _, TransferSyntaxRegistry};

use crate::{
    scan::{Broken, Encoding, PixelSpan, Scan, scan},
    uid::Uid,
};

/// The most that the elements before the pixels may take together.
pub const HEAD_BYTES_MAX: u64 = 256 << 20;
/// The most that a deflated data set may inflate to.
pub const INFLATED_BYTES_MAX: u64 = 512 << 20;
/// The most of a deflated stream's front that is looked at for a header.
const INFLATED_FRONT_MAX: u64 = 16 << 20;

/// Why a head could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    #[error("it is no DICOM file")]
    NotDicom,
    #[error("its transfer syntax is no UID")]
    BadTransferSyntax,
    #[error("its transfer syntax {0} is not known")]
    UnknownTransferSyntax(Uid),
    #[error("the elements before the pixels take {0} bytes, more than {HEAD_BYTES_MAX}")]
    TooLarge(u64),
    #[error("the deflated data set is damaged or inflates to more than {INFLATED_BYTES_MAX} bytes")]
    Inflate(#[source] io::Error),
    #[error("the data set cannot be parsed")]
    Parse(#[source] Box<dicom_object::ReadError>),
}

/// The data set before the pixels, still open for reading frames.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) dataset: InMemDicomObject,
    pub(crate) transfer_syntax: Uid,
    pub(crate) encoding: Encoding,
    pub(crate) pixels: Option<PixelSpan>,
    pub(crate) source: Source,
    /// The element at which the head breaks off; what came before is in `dataset`.
    pub(crate) broken_at: Option<(Tag, Broken)>,
}

/// Where the bytes are: a file, or memory when the file is deflated.
#[derive(Debug)]
pub(crate) enum Source {
    File(File),
    Memory(Vec<u8>),
}

impl Source {
    pub(crate) fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        match self {
            Self::File(file) => file.read_exact_at(&mut bytes, offset)?,
            Self::Memory(all) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let part = all.get(start..).and_then(|rest| rest.get(..length));
                bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
        }
        Ok(bytes)
    }
}

impl Head {
    /// Opens `path` and reads the elements before the pixels.
    ///
    /// # Errors
    /// When it is no DICOM file, or one whose head cannot be parsed.
    pub(crate) fn open(path: &Path) -> Result<Self, HeadError> {
        let file = File::open(path).map_err(HeadError::Read)?;
        let length = file.metadata().map_err(HeadError::Read)?.len();
        let mut front = [0; PREAMBLE + 8];
        let front_length = read_up_to(&file, &mut front).map_err(HeadError::Read)?;
        let front = &front[..front_length];
        let meta = match meta_start(front) {
            Some(start) => read_meta(&file, start, length)?,
            None => Meta { dataset_start: 0, transfer_syntax: None },
        };
        let syntax = match meta.transfer_syntax {
            Some(syntax) => syntax,
            None => guess_transfer_syntax(&file, meta.dataset_start)?,
        };
        if syntax.as_str() == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
            let bytes = inflate(&file, meta.dataset_start)?;
            return Self::from_memory(bytes, syntax);
        }
        let encoding = encoding_of(&syntax)?;
        let scan = scan(&file, meta.dataset_start, length, encoding).map_err(HeadError::Read)?;
        Self::parse(Source::File(file), meta.dataset_start, syntax, encoding, scan)
    }

    fn from_memory(bytes: Vec<u8>, syntax: Uid) -> Result<Self, HeadError> {
        let encoding = encoding_of(&syntax)?;
        let scan = scan(Cursor::new(&bytes), 0, bytes.len() as u64, encoding).map_err(HeadError::Read)?;
        Self::parse(Source::Memory(bytes), 0, syntax, encoding, scan)
    }

    fn parse(
        source: Source,
        start: u64,
        syntax: Uid,
        encoding: Encoding,
        scan: Scan,
    ) -> Result<Self, HeadError> {
        let head = source.read_at(start, head_length(start, &scan)?).map_err(HeadError::Read)?;
        Ok(Self {
            dataset: parse(&head, encoding)?,
            transfer_syntax: syntax,
            encoding,
            pixels: scan.pixels,
            source,
            broken_at: scan.broken_at,
        })
    }
}

/// The data set of a file without its pixels, read like a [`crate::Header`].
///
/// # Errors
/// When it is no DICOM file, or one whose head cannot be parsed.
pub fn read_dataset(path: &Path) -> Result<InMemDicomObject, HeadError> {
    Head::open(path).map(|head| head.dataset)
}

/// Parses as many whole elements before the pixels as `bytes` hold; `bytes` may end anywhere.
///
/// # Errors
/// When the syntax is not known or what is whole cannot be parsed.
pub(crate) fn parse_front(bytes: &[u8], syntax: &Uid) -> Result<InMemDicomObject, HeadError> {
    let inflated;
    let bytes = if syntax.as_str() == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        inflated = inflate_front(bytes);
        &inflated
    } else {
        bytes
    };
    let encoding = encoding_of(syntax)?;
    let scan = scan(Cursor::new(bytes), 0, bytes.len() as u64, encoding).map_err(HeadError::Read)?;
    parse(&bytes[..head_length(0, &scan)?], encoding)
}

fn head_length(start: u64, scan: &Scan) -> Result<usize, HeadError> {
    let length = scan.head_end - start;
    if length > HEAD_BYTES_MAX {
        return Err(HeadError::TooLarge(length));
    }
    Ok(usize::try_from(length).expect("at most HEAD_BYTES_MAX"))
}

fn parse(head: &[u8], encoding: Encoding) -> Result<InMemDicomObject, HeadError> {
    let plain = match encoding {
        Encoding { is_explicit: false, .. } => uids::IMPLICIT_VR_LITTLE_ENDIAN,
        Encoding { is_big_endian: true, .. } => EXPLICIT_VR_BIG_ENDIAN,
        _ => uids::EXPLICIT_VR_LITTLE_ENDIAN,
    };
    let mut ds = parse_plain(head, plain)?;
    resolve_unknown(&mut ds);
    Ok(ds)
}

fn parse_plain(head: &[u8], syntax: &str) -> Result<InMemDicomObject, HeadError> {
    let syntax = TransferSyntaxRegistry.get(syntax).expect("the registry has the plain syntaxes");
    InMemDicomObject::read_dataset_with_ts(head, syntax).map_err(|error| HeadError::Parse(Box::new(error)))
}

/// PS3.5 §6.2.2: an element of the standard that went through a system which did not know it is
/// written as UN, implicit and little endian; it is read again as what the dictionary says. What
/// cannot be read so stays UN.
fn resolve_unknown(ds: &mut InMemDicomObject) {
    let is_known = |tag: Tag| StandardDataDictionary.by_tag(tag).is_some();
    let unknown: Vec<Tag> = ds
        .iter()
        .filter(|element| element.vr() == VR::UN && is_known(element.tag()))
        .map(Header::tag)
        .collect();
    for tag in unknown {
        let Some(bytes) = ds.get(tag).and_then(|element| element.to_bytes().ok()) else { continue };
        let Some(bytes) = with_charset(ds, tag, &bytes) else { continue };
        let encoding = Encoding { is_explicit: false, is_big_endian: false };
        let is_whole = |scan: &Scan| scan.broken_at.is_none() && scan.head_end == bytes.len() as u64;
        let is_sound =
            scan(Cursor::new(&bytes), 0, bytes.len() as u64, encoding).is_ok_and(|scan| is_whole(&scan));
        if !is_sound {
            continue;
        }
        let read = parse_plain(&bytes, uids::IMPLICIT_VR_LITTLE_ENDIAN).ok();
        if let Some(element) = read.and_then(|mut read| read.take(tag)) {
            ds.put(element);
        }
    }
}

/// One implicit element, behind the character set that its text is written in.
fn with_charset(ds: &InMemDicomObject, tag: Tag, value: &[u8]) -> Option<Vec<u8>> {
    let element = |tag: Tag, value: &[u8]| -> Option<Vec<u8>> {
        let length = u32::try_from(value.len()).ok()?.to_le_bytes();
        Some([&tag.group().to_le_bytes()[..], &tag.element().to_le_bytes(), &length, value].concat())
    };
    let charset = ds.get(tags::SPECIFIC_CHARACTER_SET).filter(|_| tag != tags::SPECIFIC_CHARACTER_SET);
    let mut bytes = match charset.and_then(|charset| charset.to_bytes().ok()) {
        Some(charset) => element(tags::SPECIFIC_CHARACTER_SET, &charset)?,
        None => Vec::new(),
    };
    bytes.extend(element(tag, value)?);
    Some(bytes)
}

/// PS3.5 Annex A: everything but three syntaxes is explicit and little endian.
fn encoding_of(syntax: &Uid) -> Result<Encoding, HeadError> {
    let is_known = TransferSyntaxRegistry.get(syntax.as_str()).is_some();
    if !is_known {
        return Err(HeadError::UnknownTransferSyntax(syntax.clone()));
    }
    Ok(Encoding {
        is_explicit: syntax.as_str() != uids::IMPLICIT_VR_LITTLE_ENDIAN,
        is_big_endian: syntax.as_str() == EXPLICIT_VR_BIG_ENDIAN,
    })
}

/// Retired, yet archives hold it.
const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const PREAMBLE: usize = 128;
const MAGIC: &[u8] = b"DICM";

/// PS3.10 §7.1: behind preamble and prefix; some writers leave out one or both.
fn meta_start(front: &[u8]) -> Option<u64> {
    if front.get(PREAMBLE..).is_some_and(|rest| rest.starts_with(MAGIC)) {
        return Some((PREAMBLE + MAGIC.len()) as u64);
    }
    if front.starts_with(MAGIC) {
        return Some(MAGIC.len() as u64);
    }
    front.starts_with(&[0x02, 0x00]).then_some(0)
}

struct Meta {
    dataset_start: u64,
    transfer_syntax: Option<Uid>,
}

/// Walks the meta group, always explicit little endian, by its elements: its stated length
/// is wrong or absent in many files.
fn read_meta(file: &File, start: u64, length: u64) -> Result<Meta, HeadError> {
    let mut meta = Meta { dataset_start: start, transfer_syntax: None };
    while meta.dataset_start + 8 <= length {
        let mut header = [0; 12];
        let got = read_up_to_at(file, &mut header, meta.dataset_start).map_err(HeadError::Read)?;
        let [a, b, c, d, v, r, ..] = header;
        if got < 8 || u16::from_le_bytes([a, b]) != 0x0002 {
            break;
        }
        let is_long = matches!(&[v, r], b"OB" | b"OW" | b"UN" | b"UT" | b"SQ" | b"UR" | b"UC");
        let (header_length, value_length) = if is_long {
            (12, u64::from(u32::from_le_bytes([header[8], header[9], header[10], header[11]])))
        } else {
            (8, u64::from(u16::from_le_bytes([header[6], header[7]])))
        };
        let value_start = meta.dataset_start + header_length;
        if value_start + value_length > length {
            return Err(HeadError::NotDicom);
        }
        if u16::from_le_bytes([c, d]) == tags::TRANSFER_SYNTAX_UID.element() && value_length > 0 {
            meta.transfer_syntax = Some(read_uid(file, value_start, value_length)?);
        }
        meta.dataset_start = value_start + value_length;
    }
    Ok(meta)
}

fn read_uid(file: &File, start: u64, length: u64) -> Result<Uid, HeadError> {
    let mut bytes = vec![0; usize::try_from(length.min(256)).expect("at most 256")];
    file.read_exact_at(&mut bytes, start).map_err(HeadError::Read)?;
    let text = String::from_utf8_lossy(&bytes);
    Uid::parse(text.trim()).map_err(|_| HeadError::BadTransferSyntax)
}

/// Without a meta group the first element tells: its group number gives the byte order,
/// two capital letters behind the tag are an explicit representation.
fn guess_transfer_syntax(file: &File, start: u64) -> Result<Uid, HeadError> {
    let mut first = [0; 8];
    let got = read_up_to_at(file, &mut first, start).map_err(HeadError::Read)?;
    let [g0, g1, .., v, r, _, _] = first;
    let is_explicit = v.is_ascii_uppercase() && r.is_ascii_uppercase();
    let syntax = match (g0, g1) {
        _ if got < 8 => return Err(HeadError::NotDicom),
        (0x08, 0x00) if is_explicit => uids::EXPLICIT_VR_LITTLE_ENDIAN,
        (0x08, 0x00) => uids::IMPLICIT_VR_LITTLE_ENDIAN,
        (0x00, 0x08) if is_explicit => EXPLICIT_VR_BIG_ENDIAN,
        _ => return Err(HeadError::NotDicom),
    };
    Ok(Uid::parse(syntax).expect("a syntax of the standard"))
}

fn inflate(file: &File, start: u64) -> Result<Vec<u8>, HeadError> {
    use std::io::{Seek as _, SeekFrom};
    let mut reader = file;
    reader.seek(SeekFrom::Start(start)).map_err(HeadError::Read)?;
    let mut bytes = Vec::new();
    let mut inflater = flate2::read::DeflateDecoder::new(reader).take(INFLATED_BYTES_MAX + 1);
    inflater.read_to_end(&mut bytes).map_err(HeadError::Inflate)?;
    if bytes.len() as u64 > INFLATED_BYTES_MAX {
        return Err(HeadError::Inflate(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

/// As much as the front of a deflated stream yields, up to [`INFLATED_FRONT_MAX`].
fn inflate_front(bytes: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    let mut inflater = flate2::read::DeflateDecoder::new(bytes).take(INFLATED_FRONT_MAX);
    let mut chunk = [0; 16 * 1024];
    // The stream is expected to end early: what came out until then is the answer.
    while let Ok(count @ 1..) = inflater.read(&mut chunk) {
        inflated.extend_from_slice(&chunk[..count]);
    }
    inflated
}

fn read_up_to(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    read_up_to_at(file, buffer, 0)
}

fn read_up_to_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
