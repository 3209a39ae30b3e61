//! What is in the files of a form: DICOM instances, or archives of them.
//!
//! An archive is somebody else's word about how long and what its members are: what comes
//! out of it is counted as it comes out. No name in it is ever used as a path; one that
//! would lead out of a folder is refused all the same, since nobody honest writes it.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use crate::error::{ApiError, Code};

const MEMBERS_MAX: usize = 5000;
/// Of the list of members, which is read whole before they can be counted: hundreds of bytes for each.
const DIRECTORY_BYTES_MAX: u64 = 4 << 20;
/// Of all members together.
const BYTES_MAX: u64 = 1 << 30;
/// No image shrinks further than that; small ones of one colour may.
const GROWTH_MAX: u64 = 200;
const SMALL: u64 = 4 << 20;
const PREAMBLE: usize = 128;

/// Why files of a request cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("the request holds no file")]
    Nothing,
    #[error("file {0} is neither a DICOM file nor a zip archive")]
    NotAnImage(usize),
    #[error("the archive cannot be read: {0}")]
    Broken(zip::result::ZipError),
    #[error("a name in the archive leads out of it")]
    Escape,
    #[error("a member of the archive is encrypted, or its checksum is wrong")]
    Member,
    #[error("the archive holds no DICOM file")]
    Empty,
    #[error("the archive holds more than {MEMBERS_MAX} files or {BYTES_MAX} bytes")]
    TooMuch,
    #[error("a member of the archive grows to more than {GROWTH_MAX} times its size")]
    Bomb,
    #[error("the files cannot be read")]
    Io(#[from] io::Error),
}

impl From<Unusable> for ApiError {
    fn from(problem: Unusable) -> Self {
        let code = match &problem {
            Unusable::TooMuch => Code::BodyTooLarge,
            Unusable::Io(_) => return Self::internal(problem),
            _ => Code::InvalidDicom,
        };
        Self::because(code, problem.to_string())
    }
}

/// The DICOM files among `files`, those of archives put beside them in `folder`; blocking.
pub(crate) fn unpack(folder: &Path, files: &[PathBuf]) -> Result<Vec<PathBuf>, Unusable> {
    if files.is_empty() {
        return Err(Unusable::Nothing);
    }
    let mut found = Vec::new();
    let mut left = BYTES_MAX;
    for (index, path) in files.iter().enumerate() {
        let mut file = File::open(path)?;
        match kind(&mut file)? {
            Kind::Dicom => found.push(path.clone()),
            Kind::Zip => members(file, folder, index, &mut left, &mut found)?,
            Kind::Other => return Err(Unusable::NotAnImage(index + 1)),
        }
    }
    if found.is_empty() { Err(Unusable::Empty) } else { Ok(found) }
}

enum Kind {
    Dicom,
    Zip,
    Other,
}

/// By the bytes, never by the name. PS3.10 §7.1; APPNOTE 4.3.7 and, of an empty archive, 4.3.16.
fn kind(file: &mut File) -> io::Result<Kind> {
    let mut front = Vec::with_capacity(PREAMBLE + 4);
    Read::by_ref(file).take(PREAMBLE as u64 + 4).read_to_end(&mut front)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(if front.get(PREAMBLE..) == Some(b"DICM") {
        Kind::Dicom
    } else if front.starts_with(b"PK\x03\x04") || front.starts_with(b"PK\x05\x06") {
        Kind::Zip
    } else {
        Kind::Other
    })
}

/// A file of which only so much may be read.
struct Bounded {
    file: File,
    left: Rc<Cell<u64>>,
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or(io::ErrorKind::FileTooLarge)?);
        Ok(count)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The list of members, as long as a list of [`MEMBERS_MAX`] may be; the members themselves are counted later.
fn directory(archive: File) -> Result<zip::ZipArchive<Bounded>, Unusable> {
    let left = Rc::new(Cell::new(DIRECTORY_BYTES_MAX));
    let read = zip::ZipArchive::new(Bounded { file: archive, left: Rc::clone(&left) });
    left.set(u64::MAX);
    let archive = read.map_err(|error| match error {
        zip::result::ZipError::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => Unusable::TooMuch,
        other => Unusable::Broken(other),
    })?;
    if archive.len() > MEMBERS_MAX { Err(Unusable::TooMuch) } else { Ok(archive) }
}

/// Writes the DICOM files of an archive beside it.
fn members(
    archive: File,
    folder: &Path,
    index: usize,
    left: &mut u64,
    found: &mut Vec<PathBuf>,
) -> Result<(), Unusable> {
    let mut archive = directory(archive)?;
    for number in 0..archive.len() {
        let member = archive.by_index(number).map_err(|error| match error {
            zip::result::ZipError::Io(_) | zip::result::ZipError::UnsupportedArchive(_) => Unusable::Member,
            other => Unusable::Broken(other),
        })?;
        let is_absolute = member.name().map_err(Unusable::Broken)?.starts_with('/');
        if is_absolute || member.enclosed_name().is_none() {
            return Err(Unusable::Escape);
        }
        if member.is_dir() {
            continue;
        }
        let path = folder.join(format!("{index}-{number}"));
        let plausible = member.compressed_size().saturating_mul(GROWTH_MAX).max(SMALL);
        *left -= write_member(member, &path, *left, plausible)?;
        // A DICOMDIR's neighbours, a read-me: left aside, like other files of a folder.
        match kind(&mut File::open(&path)?)? {
            Kind::Dicom => found.push(path),
            Kind::Zip | Kind::Other => std::fs::remove_file(&path)?,
        }
    }
    Ok(())
}

/// Copies a member and gives its length; more than is left ends it.
fn write_member(mut member: impl Read, path: &Path, left: u64, plausible: u64) -> Result<u64, Unusable> {
    let mut file = File::create(path)?;
    let mut buffer = vec![0; 64 << 10];
    let mut written: u64 = 0;
    loop {
        // What fails here is the archive: its stream or its checksum.
        let count = member.read(&mut buffer).map_err(|_| Unusable::Member)?;
        if count == 0 {
            return Ok(written);
        }
        written += count as u64;
        if written > left {
            return Err(Unusable::TooMuch);
        }
        if written > plausible {
            return Err(Unusable::Bomb);
        }
        file.write_all(&buffer[..count])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of nothing but its list: `count` members of no bytes (APPNOTE 4.3.12, 4.3.16).
    fn list_of(count: u16, name_length: usize) -> File {
        let mut bytes = Vec::new();
        for number in 0..count {
            let mut entry = b"PK\x01\x02".to_vec();
            entry.resize(46, 0);
            entry[28..30].copy_from_slice(&u16::try_from(name_length).unwrap().to_le_bytes());
            entry.extend_from_slice(format!("{number:0>name_length$}").as_bytes());
            bytes.extend_from_slice(&entry);
        }
        let length = u32::try_from(bytes.len()).unwrap();
        bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        bytes.extend_from_slice(&[count.to_le_bytes(), count.to_le_bytes()].concat());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    fn archive_of(count: usize) -> File {
        let mut zip = zip::ZipWriter::new(tempfile::tempfile().unwrap());
        for number in 0..count {
            zip.start_file(number.to_string(), zip::write::SimpleFileOptions::default()).unwrap();
        }
        zip.finish().unwrap()
    }

    #[test]
    fn the_list_of_an_archive_is_not_read_beyond_what_its_members_may_need() {
        assert_eq!(directory(archive_of(MEMBERS_MAX)).unwrap().len(), MEMBERS_MAX);
        assert!(matches!(directory(archive_of(MEMBERS_MAX + 1)), Err(Unusable::TooMuch)));
        assert!(matches!(directory(list_of(60_000, 100)), Err(Unusable::TooMuch)));
    }
}
