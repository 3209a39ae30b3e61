//! NumPy's array format, version 1 to 3, read slice by slice.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use super::{ByteOrder, Context, Labels, LabelsFileError, Number, no_label};
use crate::{LabelPlane, LabelPlanes};

/// More than any header of a plain array takes.
const HEADER_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Npy {
    file: File,
    header: Header,
    data_start: u64,
    bytes: Vec<u8>,
    /// Of the slice that was read last, when its bytes are no labels yet.
    labels: Labels,
}

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Header {
    number: Number,
    order: ByteOrder,
    shape: [usize; 3],
}

impl Npy {
    pub(super) fn open(path: &Path) -> Result<Self, LabelsFileError> {
        let context = Context(path);
        let mut file = File::open(path).map_err(|error| context.read(error))?;
        let mut start = [0; 8];
        file.read_exact(&mut start).map_err(|error| context.read(error))?;
        let length_size = match &start {
            [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _] => 2,
            [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _] => 4,
            _ => return Err(context.malformed("it does not begin as a .npy file")),
        };
        let mut length = [0; 4];
        file.read_exact(&mut length[..length_size]).map_err(|error| context.read(error))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > HEADER_BYTES_MAX {
            return Err(context.malformed(format!("its header has {length} bytes")));
        }
        let mut text = vec![0; length];
        file.read_exact(&mut text).map_err(|error| context.read(error))?;
        let header =
            Header::parse(&String::from_utf8_lossy(&text)).map_err(|problem| context.malformed(problem))?;
        let data_start = 8 + length_size as u64 + length as u64;
        let size = file.metadata().map_err(|error| context.read(error))?.len();
        let needed = header.size_bytes().and_then(|bytes| bytes.checked_add(data_start));
        if needed.is_none_or(|needed| needed > size) {
            return Err(context.malformed(format!("it is shorter than its shape {:?} needs", header.shape)));
        }
        Ok(Self { file, header, data_start, bytes: Vec::new(), labels: Labels::new() })
    }
}

impl LabelPlanes for Npy {
    fn shape(&self) -> [usize; 3] {
        self.header.shape
    }

    fn plane(&mut self, slice: usize) -> io::Result<LabelPlane<'_>> {
        let Header { number, order, shape: [_, rows, columns] } = self.header;
        self.bytes.resize(rows * columns * number.size(), 0);
        self.file.seek(SeekFrom::Start(self.data_start + (slice * self.bytes.len()) as u64))?;
        self.file.read_exact(&mut self.bytes)?;
        if number == Number::U8 {
            return Ok(LabelPlane::Bytes(&self.bytes));
        }
        self.labels.clear();
        number.labels(&self.bytes, order, &mut self.labels).map_err(no_label)?;
        Ok(self.labels.plane())
    }
}

impl Header {
    /// A Python dictionary with three keys, as `numpy.save` writes it.
    fn parse(text: &str) -> Result<Self, String> {
        let value = |key: &str| {
            let (_, rest) =
                text.split_once(&format!("'{key}':")).ok_or(format!("its header has no {key}"))?;
            Ok::<_, String>(rest.trim_start())
        };
        if !value("fortran_order")?.starts_with("False") {
            return Err("it is in Fortran order; save numpy.ascontiguousarray(array)".into());
        }
        let kind =
            value("descr")?.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(kind, _)| kind);
        let (number, order) = kind
            .and_then(number)
            .ok_or_else(|| format!("its numbers are of the kind {}", kind.unwrap_or("of a record")))?;
        let shape =
            value("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(shape, _)| shape);
        let shape: Option<Vec<usize>> = shape.and_then(|shape| {
            shape
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| part.parse().ok())
                .collect()
        });
        match shape.as_deref() {
            Some(&[slices, rows, columns]) => Ok(Self { number, order, shape: [slices, rows, columns] }),
            Some(other) => Err(format!("it has {} dimensions, not (slice, row, column)", other.len())),
            None => Err("its shape cannot be read".into()),
        }
    }

    fn size_bytes(&self) -> Option<u64> {
        let bytes =
            self.shape.iter().try_fold(self.number.size(), |product, size| product.checked_mul(*size))?;
        u64::try_from(bytes).ok()
    }
}

fn number(kind: &str) -> Option<(Number, ByteOrder)> {
    let (order, kind) = kind.split_at_checked(1)?;
    let order = match order {
        ">" => ByteOrder::Big,
        "<" | "|" | "=" => ByteOrder::Little,
        _ => return None,
    };
    let number = match kind {
        "u1" | "b1" => Number::U8,
        "i1" => Number::I8,
        "u2" => Number::U16,
        "i2" => Number::I16,
        "u4" => Number::U32,
        "i4" => Number::I32,
        "u8" => Number::U64,
        "i8" => Number::I64,
        "f4" => Number::F32,
        "f8" => Number::F64,
        _ => return None,
    };
    Some((number, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Header, &str>) {
        assert_eq!(
            Header::parse(text).as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|problem| *problem)
        );
    }

    #[test]
    fn headers_say_kind_and_shape() {
        check(
            "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4, 5), }   \n",
            Ok(Header { number: Number::U8, order: ByteOrder::Little, shape: [3, 4, 5] }),
        );
        check(
            "{'descr': '>i2', 'fortran_order': False, 'shape': (1, 2, 3)}",
            Ok(Header { number: Number::I16, order: ByteOrder::Big, shape: [1, 2, 3] }),
        );
    }

    #[test]
    fn other_arrays_are_refused_with_what_to_do() {
        check(
            "{'descr': '|u1', 'fortran_order': True, 'shape': (3, 4, 5)}",
            Err("it is in Fortran order; save numpy.ascontiguousarray(array)"),
        );
        check(
            "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4)}",
            Err("it has 2 dimensions, not (slice, row, column)"),
        );
        check(
            "{'descr': '<c8', 'fortran_order': False, 'shape': (1,1,1)}",
            Err("its numbers are of the kind <c8"),
        );
        check("", Err("its header has no fortran_order"));
    }
}
