//! NIfTI-1 volumes, placed on the source by their affine.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use super::{ByteOrder, Context, Labels, LabelsFileError, Number, no_label};
use crate::{LabelPlane, LabelPlanes, Plane, Source, source::numbers};

/// Voxels beside its place from which a slice counts as lying elsewhere.
const OFF_GRID_VOXELS: f64 = 0.25;

/// The most voxels that are accepted: twice 1024 x 1024 x 1024.
const VOXELS_MAX: u64 = 2 << 30;

/// A label map may reach beyond the images, but it is about them: a packed file of a few bytes could hold
/// gigabytes of nothing.
const TIMES_THE_SOURCE_MAX: u64 = 16;
const VOXELS_OF_ANY_SOURCE: u64 = 1 << 20;

/// RFC 1952 §2.3.1.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A slice further away from the volume than this is not looked for in it.
const INDEX_MAX: f64 = 1e9;

/// A label volume in memory, and where the source's slices lie in it.
#[derive(Debug)]
pub(super) struct Nifti {
    labels: Labels,
    /// The slice that was asked for last.
    slice: Labels,
    dims: [i64; 3],
    slices: Vec<Lattice>,
    rows: usize,
    columns: usize,
}

/// Voxel indices of a slice: of its first pixel, and the steps to the next column and row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lattice {
    first: [i64; 3],
    column_step: [i64; 3],
    row_step: [i64; 3],
}

impl Nifti {
    pub(super) fn open(path: &Path, source: &Source) -> Result<Self, LabelsFileError> {
        let context = Context(path);
        let mut file = BufReader::new(File::open(path).map_err(|error| context.read(error))?);
        let front = file.fill_buf().map_err(|error| context.read(error))?;
        let is_compressed = front.starts_with(&GZIP_MAGIC);
        let mut reader: Box<dyn Read> =
            if is_compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut bytes = [0; HEADER_BYTES];
        reader.read_exact(&mut bytes).map_err(|error| context.read(error))?;
        let header = Header::parse(&bytes).map_err(|problem| context.malformed(problem))?;
        let voxels = header.dims.iter().product::<i64>() as u64;
        let of_source = source.frames().len() as u64 * u64::from(source.rows()) * u64::from(source.columns());
        if voxels > of_source.saturating_mul(TIMES_THE_SOURCE_MAX).max(VOXELS_OF_ANY_SOURCE) {
            return Err(context
                .malformed(format!("its size is {:?}, far more voxels than the images have", header.dims)));
        }
        let labels = header.read_labels(&mut reader).map_err(|error| context.read(error))?;
        let slices = source
            .frames()
            .iter()
            .enumerate()
            .map(|(slice, frame)| {
                let plane =
                    frame.plane.as_ref().zip(frame.measures.pixel_spacing.as_deref().and_then(numbers));
                let (plane, spacing) =
                    plane.ok_or_else(|| context.malformed("the source has no positions"))?;
                header.lattice(plane, spacing, source).map_err(|off_by| LabelsFileError::OffGrid {
                    path: path.to_owned(),
                    slice,
                    off_by,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (rows, columns) = (source.rows() as usize, source.columns() as usize);
        Ok(Self { labels, slice: Labels::new(), dims: header.dims, slices, rows, columns })
    }

    /// The labels of one slice, each row after row; background outside the volume.
    fn gather<L: Copy + Default>(&self, all: &[L], slice: usize) -> Vec<L> {
        let [columns, rows, slices] = self.dims;
        let lattice = self.slices[slice];
        let mut labels = Vec::with_capacity(self.rows * self.columns);
        for row in 0..self.rows {
            let mut at = plus(lattice.first, lattice.row_step, row as i64);
            for _ in 0..self.columns {
                let [i, j, k] = at;
                let is_inside =
                    (0..columns).contains(&i) && (0..rows).contains(&j) && (0..slices).contains(&k);
                // far outside the index would overflow
                let label = is_inside.then(|| all[(i + columns * (j + rows * k)) as usize]);
                labels.push(label.unwrap_or_default());
                at = plus(at, lattice.column_step, 1);
            }
        }
        labels
    }
}

impl LabelPlanes for Nifti {
    fn shape(&self) -> [usize; 3] {
        [self.slices.len(), self.rows, self.columns]
    }

    fn plane(&mut self, slice: usize) -> io::Result<LabelPlane<'_>> {
        self.slice = match &self.labels {
            Labels::Bytes(all) => Labels::Bytes(self.gather(all, slice)),
            Labels::Words(all) => Labels::Words(self.gather(all, slice)),
        };
        Ok(self.slice.plane())
    }
}

fn plus(at: [i64; 3], step: [i64; 3], times: i64) -> [i64; 3] {
    std::array::from_fn(|axis| at[axis] + times * step[axis])
}

const HEADER_BYTES: usize = 348;

/// The parts of the header that a label map needs.
#[derive(Debug, Clone, PartialEq)]
struct Header {
    order: ByteOrder,
    dims: [i64; 3],
    number: Number,
    /// Bytes between the header and the voxels.
    gap: u64,
    /// Patient coordinates (LPS) to voxel index: rows of a 3 x 4 matrix.
    index_of: [[f64; 4]; 3],
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, String> {
        let order = match bytes[..4] {
            [0x5C, 1, 0, 0] => ByteOrder::Little,
            [0, 0, 1, 0x5C] => ByteOrder::Big,
            _ => return Err("it does not begin as a NIfTI-1 file".into()),
        };
        let fields = Fields { bytes, order };
        let dims = fields.dims()?;
        let number = fields.number()?;
        let (slope, intercept) = (fields.float(112), fields.float(116));
        if slope != 0.0 && (slope, intercept) != (1.0, 0.0) {
            return Err(format!("its values are scaled by {slope} and {intercept}, labels are not"));
        }
        let offset = fields.float(108);
        if !(348.0..=1e6).contains(&offset) {
            return Err(format!("its voxels begin at byte {offset}"));
        }
        let index_of = inverse(to_lps(fields.affine()?)).ok_or("its affine has no inverse")?;
        Ok(Self { order, dims, number, gap: offset as u64 - HEADER_BYTES as u64, index_of })
    }

    fn read_labels(&self, reader: &mut dyn Read) -> io::Result<Labels> {
        io::copy(&mut reader.take(self.gap), &mut io::sink())?;
        let voxels = self.dims.iter().product::<i64>() as usize;
        let mut labels = Labels::new();
        let mut chunk = vec![0; self.number.size() << 20];
        while labels.len() < voxels {
            let wanted = (voxels - labels.len()).min(1 << 20) * self.number.size();
            reader.read_exact(&mut chunk[..wanted])?;
            self.number.labels(&chunk[..wanted], self.order, &mut labels).map_err(no_label)?;
        }
        Ok(labels)
    }

    /// Where a slice of the source lies, when it lies on voxels.
    ///
    /// # Errors
    /// The largest distance of a corner from its voxel.
    fn lattice(
        &self,
        plane: &Plane,
        [row_spacing, column_spacing]: [f64; 2],
        source: &Source,
    ) -> Result<Lattice, f64> {
        let [xx, xy, xz, yx, yy, yz] = plane.orientation;
        let position = plane.position;
        let at = |column: f64, row: f64| {
            let along = [xx, xy, xz].map(|part| part * column * column_spacing);
            let down = [yx, yy, yz].map(|part| part * row * row_spacing);
            self.index(std::array::from_fn(|axis| position[axis] + along[axis] + down[axis]))
        };
        let (last_column, last_row) = (f64::from(source.columns()) - 1.0, f64::from(source.rows()) - 1.0);
        let first = at(0.0, 0.0).map(f64::round);
        let step = |to: [f64; 3], from: [f64; 3], count: f64| -> [f64; 3] {
            std::array::from_fn(|axis| ((to[axis] - from[axis]) / count.max(1.0)).round())
        };
        let column_step = step(at(last_column, 0.0), at(0.0, 0.0), last_column);
        let row_step = step(at(0.0, last_row), at(0.0, 0.0), last_row);
        let off_by = [(0.0, 0.0), (last_column, 0.0), (0.0, last_row), (last_column, last_row)]
            .into_iter()
            .flat_map(|(column, row)| {
                let exact = at(column, row);
                (0..3).map(move |axis| {
                    (first[axis] + column * column_step[axis] + row * row_step[axis] - exact[axis]).abs()
                })
            })
            .map(|off_by| if off_by.is_nan() { f64::INFINITY } else { off_by })
            .fold(0.0, f64::max);
        let is_far = [first, column_step, row_step].iter().flatten().any(|index| index.abs() > INDEX_MAX);
        if is_far || off_by > OFF_GRID_VOXELS {
            return Err(off_by);
        }
        let whole = |numbers: [f64; 3]| numbers.map(|number| number as i64);
        Ok(Lattice { first: whole(first), column_step: whole(column_step), row_step: whole(row_step) })
    }

    fn index(&self, point: [f64; 3]) -> [f64; 3] {
        self.index_of.map(|[a, b, c, d]| a * point[0] + b * point[1] + c * point[2] + d)
    }
}

/// Fields of the header by their offset.
struct Fields<'a> {
    bytes: &'a [u8; HEADER_BYTES],
    order: ByteOrder,
}

impl Fields<'_> {
    fn short(&self, at: usize) -> i16 {
        Number::I16.value(&self.bytes[at..at + 2], self.order) as i16
    }

    fn float(&self, at: usize) -> f64 {
        Number::F32.value(&self.bytes[at..at + 4], self.order)
    }

    fn dims(&self) -> Result<[i64; 3], String> {
        let count = self.short(40);
        let dims: [i64; 7] = std::array::from_fn(|axis| i64::from(self.short(42 + 2 * axis)));
        let further = dims.iter().take(count.max(0) as usize).skip(3);
        if !(2..=7).contains(&count) || further.into_iter().any(|size| *size > 1) {
            return Err(format!("it has {count} dimensions, a label map has 3"));
        }
        let dims = [dims[0], dims[1], if count > 2 { dims[2] } else { 1 }];
        if dims.iter().any(|size| *size < 1) || dims.iter().product::<i64>() as u64 > VOXELS_MAX {
            return Err(format!("its size is {dims:?}"));
        }
        Ok(dims)
    }

    fn number(&self) -> Result<Number, String> {
        Ok(match self.short(70) {
            2 => Number::U8,
            4 => Number::I16,
            8 => Number::I32,
            16 => Number::F32,
            64 => Number::F64,
            256 => Number::I8,
            512 => Number::U16,
            768 => Number::U32,
            1024 => Number::I64,
            1280 => Number::U64,
            other => return Err(format!("its numbers are of the kind {other}")),
        })
    }

    /// Voxel index to RAS: the sform, else the qform.
    fn affine(&self) -> Result<[[f64; 4]; 3], String> {
        if self.short(254) > 0 {
            return Ok(std::array::from_fn(|row| {
                std::array::from_fn(|column| self.float(280 + 16 * row + 4 * column))
            }));
        }
        if self.short(252) > 0 {
            return Ok(self.quaternion());
        }
        Err("it has neither sform nor qform, so nobody knows where it lies".into())
    }

    fn quaternion(&self) -> [[f64; 4]; 3] {
        let [b, c, d] = [256, 260, 264].map(|at| self.float(at));
        let a = (1.0 - b * b - c * c - d * d).max(0.0).sqrt();
        let flip = if self.float(76) < 0.0 { -1.0 } else { 1.0 };
        let [x, y, z] = [80, 84, 88].map(|at| self.float(at));
        let z = z * flip;
        let offset = [268, 272, 276].map(|at| self.float(at));
        [
            [
                x * (a * a + b * b - c * c - d * d),
                y * 2.0 * (b * c - a * d),
                z * 2.0 * (b * d + a * c),
                offset[0],
            ],
            [
                x * 2.0 * (b * c + a * d),
                y * (a * a + c * c - b * b - d * d),
                z * 2.0 * (c * d - a * b),
                offset[1],
            ],
            [
                x * 2.0 * (b * d - a * c),
                y * 2.0 * (c * d + a * b),
                z * (a * a + d * d - b * b - c * c),
                offset[2],
            ],
        ]
    }
}

/// NIfTI counts from left to right and back to front, DICOM the other way round.
fn to_lps([x, y, z]: [[f64; 4]; 3]) -> [[f64; 4]; 3] {
    [x.map(|value| -value), y.map(|value| -value), z]
}

fn inverse([[a, b, c, x], [d, e, f, y], [g, h, i, z]]: [[f64; 4]; 3]) -> Option<[[f64; 4]; 3]> {
    let determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
    if !determinant.is_finite() || determinant.abs() < 1e-12 {
        return None;
    }
    let rows = [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ];
    Some(rows.map(|row| {
        let [p, q, r] = row.map(|value| value / determinant);
        [p, q, r, -(p * x + q * y + r * z)]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_leads_back() {
        let affine = [[0.0, -2.0, 0.1, 5.0], [1.5, 0.0, 0.0, -7.0], [0.0, 0.2, 3.0, 11.0]];
        let back = inverse(affine).expect("the matrix has an inverse");
        let point = affine.map(|[a, b, c, d]| a * 4.0 + b * 5.0 + c * 6.0 + d);
        let index = back.map(|[a, b, c, d]| a * point[0] + b * point[1] + c * point[2] + d);
        for (got, expected) in index.iter().zip([4.0, 5.0, 6.0]) {
            assert!((got - expected).abs() < 1e-9, "{index:?}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        let bytes = [0; HEADER_BYTES];
        assert_eq!(Header::parse(&bytes), Err("it does not begin as a NIfTI-1 file".into()));
    }
}
