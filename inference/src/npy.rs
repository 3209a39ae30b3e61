//! NumPy's `.npy` files, as the self-tests of packages use them.
//!
//! Reads versions 1 to 3 in C order with little-endian `f4`, `f8`, `u1`, `i8` and writes
//! `f4` and `f8`. Anything else is refused by name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ndarray::{ArrayD, IxDyn};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Self-tests are small; a larger file is a mistake.
const BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no .npy file: {problem}", path.display())]
    Format { path: PathBuf, problem: String },
}

/// Reads an array of any supported kind as float64.
///
/// # Errors
/// When the file cannot be read or is of a kind that is not supported.
pub fn read(path: &Path) -> Result<ArrayD<f64>, NpyError> {
    let unreadable = |source| NpyError::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    let wrong = |problem: String| NpyError::Format { path: path.to_owned(), problem };
    if size > BYTES_MAX {
        return Err(wrong(format!("it has {size} bytes, at most {BYTES_MAX} are read")));
    }
    parse(&fs::read(path).map_err(unreadable)?).map_err(wrong)
}

fn parse(bytes: &[u8]) -> Result<ArrayD<f64>, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin as one")?;
    let (length, from) = match rest {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([*a, *b])), 4),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 6),
        _ => return Err("its version is unknown".to_owned()),
    };
    let header = rest.get(from..from + length).ok_or("its header is cut off")?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text")?;
    let (kind, shape) = understand(header)?;
    let data = &rest[from + length..];
    let count =
        shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side)).ok_or("it is too large")?;
    let numbers = numbers(kind, data)?;
    if numbers.len() != count {
        return Err(format!("it holds {} numbers, its shape says {count}", numbers.len()));
    }
    ArrayD::from_shape_vec(IxDyn(&shape), numbers)
        .map_err(|_| "its shape does not fit its numbers".to_owned())
}

/// Kind and shape of a header such as `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn understand(header: &str) -> Result<(&str, Vec<usize>), String> {
    let after = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    let kind =
        after("descr").and_then(|rest| rest.strip_prefix('\'')).and_then(|rest| rest.split('\'').next());
    let kind = kind.ok_or("its header names no single kind of number")?;
    if !after("fortran_order").ok_or("its header has no order")?.starts_with("False") {
        return Err("it is in Fortran order: save numpy.ascontiguousarray(array)".to_owned());
    }
    let shape =
        after("shape").and_then(|rest| rest.strip_prefix('(')).and_then(|rest| rest.split(')').next());
    let sides =
        shape.ok_or("its header has no shape")?.split(',').map(str::trim).filter(|side| !side.is_empty());
    let sides = sides.map(|side| side.parse().map_err(|_| format!("its shape has the side {side}")));
    Ok((kind, sides.collect::<Result<_, _>>()?))
}

fn numbers(kind: &str, data: &[u8]) -> Result<Vec<f64>, String> {
    fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Result<Vec<f64>, String> {
        let (chunks, rest) = data.as_chunks::<N>();
        if rest.is_empty() {
            Ok(chunks.iter().map(|chunk| number(*chunk)).collect())
        } else {
            Err("it is cut off".into())
        }
    }
    match kind {
        "<f4" => each(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        "<f8" => each(data, f64::from_le_bytes),
        "<i8" => each(data, |bytes| i64::from_le_bytes(bytes) as f64),
        "|u1" => each(data, |[byte]: [u8; 1]| f64::from(byte)),
        other => Err(format!("its numbers are '{other}': expected '<f4', '<f8', '<i8' or '|u1'")),
    }
}

/// Writes `array` as float32.
///
/// # Errors
/// When the file cannot be written.
pub fn write_f32(path: &Path, array: &ArrayD<f32>) -> Result<(), NpyError> {
    let data = array.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    write(path, "<f4", array.shape(), &data)
}

/// Writes `array` as float64.
///
/// # Errors
/// When the file cannot be written.
pub fn write_f64(path: &Path, array: &ArrayD<f64>) -> Result<(), NpyError> {
    let data = array.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    write(path, "<f8", array.shape(), &data)
}

/// Writes `array` as unsigned bytes, which is what label maps are.
///
/// # Errors
/// When the file cannot be written.
pub fn write_u8(path: &Path, array: &ArrayD<u8>) -> Result<(), NpyError> {
    let data = array.iter().copied().collect::<Vec<_>>();
    write(path, "|u1", array.shape(), &data)
}

fn write(path: &Path, kind: &str, shape: &[usize], data: &[u8]) -> Result<(), NpyError> {
    let sides = shape.iter().map(|side| format!("{side},")).collect::<String>();
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sides}), }}");
    // The data begins at a multiple of 64; the header ends with a line break.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let length = u16::try_from(header.len()).expect("a shape of a few sides fits");
    let bytes = [MAGIC, &[1, 0], &length.to_le_bytes(), header.as_bytes(), data].concat();
    fs::write(path, bytes).map_err(|source| NpyError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let array = ArrayD::from_shape_fn(IxDyn(&[2, 3]), |at| at[0] as f64 * 10.0 + at[1] as f64 + 0.5);
        write_f64(&path, &array).unwrap();
        assert_eq!(read(&path).unwrap(), array);
        write_f32(&path, &array.mapv(|number| number as f32)).unwrap();
        assert_eq!(read(&path).unwrap(), array);
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len() - 24) % 64, 0);
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let header = |text: &str| {
            let length = u16::try_from(text.len()).unwrap().to_le_bytes();
            [MAGIC, &[1, 0], &length, text.as_bytes(), &[0; 16]].concat()
        };
        let refuse = |bytes: &[u8], expected: &str| assert_eq!(parse(bytes).unwrap_err(), expected);
        refuse(b"PK", "it does not begin as one");
        refuse(
            &header("{'descr': '>f4', 'fortran_order': False, 'shape': (4,), }"),
            "its numbers are '>f4': expected '<f4', '<f8', '<i8' or '|u1'",
        );
        refuse(
            &header("{'descr': '<f4', 'fortran_order': True, 'shape': (4,), }"),
            "it is in Fortran order: save numpy.ascontiguousarray(array)",
        );
        refuse(
            &header("{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }"),
            "it holds 4 numbers, its shape says 5",
        );
        refuse(
            &header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,99999999999,), }"),
            "it is too large",
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_array_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _array_or_error = parse(&[MAGIC, &bytes].concat());
        }
    }
}
