//! Reads a NIfTI-1 volume, for people who have no DICOM files of it.

use std::{io::Read as _, path::Path};

use anyhow::{Context, bail, ensure};
use flate2::read::GzDecoder;
use imaging::{Grid, Header, Uid, VOXELS_MAX, Volume};
use ndarray::Array3;

const HEADER_BYTES: usize = 348;
/// UIDs of what never was a DICOM object; PS3.5 §B.2.
const NO_UID: &str = "2.25.0";

/// Whether the name is that of a NIfTI file.
pub(crate) fn is_named_so(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    name.ends_with(".nii") || name.ends_with(".nii.gz")
}

/// The one volume of a `.nii` or `.nii.gz` file, its axes turned to LPS.
///
/// # Errors
/// When it is no NIfTI-1 file of one volume of real numbers, or it is cut.
pub(crate) fn read(path: &Path, modality: &str) -> anyhow::Result<Volume> {
    let bytes = unpacked(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes, modality).with_context(|| format!("{} cannot be used", path.display()))
}

fn unpacked(path: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    // No file that we would take is longer: a small one cannot fill the memory.
    GzDecoder::new(bytes.as_slice()).take(8 * VOXELS_MAX as u64 + 4096).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

fn parse(bytes: &[u8], modality: &str) -> anyhow::Result<Volume> {
    let fields = Fields::of(bytes)?;
    let dims = fields.dims()?;
    let affine = fields.affine()?;
    let voxels = fields.voxels(bytes, dims)?;
    let uid = Uid::parse(NO_UID).context("the constant is a UID")?;
    let mut header =
        Header::new(uid.clone().into(), uid.clone().into(), uid.clone().into(), uid.clone().into(), uid);
    let grid = Grid::from_affine(dims, affine);
    header.modality = modality.to_owned();
    header.rows = u32::try_from(dims[1]).ok();
    header.columns = u32::try_from(dims[0]).ok();
    header.number_of_frames = 1;
    header.position = Some(grid.origin());
    header.orientation = Some(grid.orientation());
    header.pixel_spacing = Some([grid.spacing()[1], grid.spacing()[0]]);
    Ok(Volume {
        grid,
        voxels,
        frames: Vec::new(),
        header,
        split: None,
        holes: Vec::new(),
        left_out: Vec::new(),
    })
}

/// Bytes of a sample, and how they are read.
type Sample = (usize, fn(&[u8]) -> f64);

/// The header, in whichever byte order it was written.
struct Fields<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8]) -> anyhow::Result<Self> {
        ensure!(bytes.len() >= HEADER_BYTES + 4, "it is shorter than a NIfTI-1 header");
        ensure!(&bytes[344..348] == b"n+1\0", "it is no NIfTI-1 file with header and voxels in one");
        let length: [u8; 4] = bytes[..4].try_into()?;
        let is_big_endian = i32::from_be_bytes(length) == HEADER_BYTES as i32;
        ensure!(
            is_big_endian || i32::from_le_bytes(length) == HEADER_BYTES as i32,
            "its header has a wrong length"
        );
        Ok(Self { bytes, is_big_endian })
    }

    fn short(&self, offset: usize) -> i16 {
        let pair = [self.bytes[offset], self.bytes[offset + 1]];
        if self.is_big_endian { i16::from_be_bytes(pair) } else { i16::from_le_bytes(pair) }
    }

    fn float(&self, offset: usize) -> f64 {
        let four = [0, 1, 2, 3].map(|idx| self.bytes[offset + idx]);
        f64::from(if self.is_big_endian { f32::from_be_bytes(four) } else { f32::from_le_bytes(four) })
    }

    fn dims(&self) -> anyhow::Result<[usize; 3]> {
        let axes = self.short(40);
        ensure!((1..=7).contains(&axes), "it states {axes} axes");
        let mut dims = [1_usize; 7];
        for (axis, length) in dims.iter_mut().enumerate().take(axes as usize) {
            *length = usize::try_from(self.short(42 + 2 * axis)).unwrap_or(0);
        }
        ensure!(dims.iter().all(|length| *length > 0), "one of its sides is not positive");
        ensure!(dims[3..].iter().all(|length| *length == 1), "it holds several volumes: expected one");
        let count = dims[..3].iter().map(|length| *length as u128).product::<u128>();
        ensure!(count <= VOXELS_MAX as u128, "it has {count} voxels: at most {VOXELS_MAX} are read");
        Ok([dims[0], dims[1], dims[2]])
    }

    /// (column, row, slice) to LPS: the s-form, else the q-form. NIfTI is RAS: the first two signs differ.
    fn affine(&self) -> anyhow::Result<[[f64; 4]; 4]> {
        let ras = if self.short(254) > 0 {
            [280, 296, 312].map(|row| [0, 4, 8, 12].map(|column| self.float(row + column)))
        } else if self.short(252) > 0 {
            self.quaternion()
        } else {
            bail!("it does not say where it lies: neither s-form nor q-form is set");
        };
        ensure!(ras.iter().flatten().all(|value| value.is_finite()), "its affine is not finite");
        let [right, forward, up] = ras;
        let affine = [right.map(|value| -value), forward.map(|value| -value), up, [0.0, 0.0, 0.0, 1.0]];
        ensure!(determinant(&affine).abs() > 1e-9, "its affine is flat");
        Ok(affine)
    }

    /// Method 2 of nifti1.h.
    fn quaternion(&self) -> [[f64; 4]; 3] {
        let [b, c, d] = [256, 260, 264].map(|offset| self.float(offset));
        let a = (1.0 - b * b - c * c - d * d).max(0.0).sqrt();
        let rotation = [
            [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
            [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
            [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ];
        let hand = if self.float(76) < 0.0 { -1.0 } else { 1.0 };
        let steps = [self.float(80), self.float(84), hand * self.float(88)];
        let row = |axis: usize| {
            let [x, y, z] = [0, 1, 2].map(|column| rotation[axis][column] * steps[column]);
            [x, y, z, self.float(268 + 4 * axis)]
        };
        [row(0), row(1), row(2)]
    }

    /// Values after slope and intercept, [slice, row, column].
    fn voxels(&self, bytes: &[u8], [columns, rows, slices]: [usize; 3]) -> anyhow::Result<Array3<f32>> {
        let (width, value) = self.sample()?;
        let begin = self.float(108) as usize;
        let end = begin.saturating_add(columns * rows * slices * width);
        ensure!(begin >= HEADER_BYTES, "its voxels begin inside the header");
        let stored = bytes
            .get(begin..end)
            .with_context(|| format!("it is cut: {end} bytes are described, there are {}", bytes.len()))?;
        let (slope, intercept) = match (self.float(112), self.float(116)) {
            (slope, intercept) if slope != 0.0 && slope.is_finite() => (slope, intercept),
            _ => (1.0, 0.0),
        };
        let voxels = stored.chunks_exact(width).map(|sample| (slope * value(sample) + intercept) as f32);
        let voxels = Array3::from_shape_vec((slices, rows, columns), voxels.collect())?;
        ensure!(voxels.iter().all(|value| value.is_finite()), "it holds values that are no numbers");
        Ok(voxels)
    }

    fn sample(&self) -> anyhow::Result<Sample> {
        macro_rules! number {
            ($kind:ty, $from:ident) => {
                (size_of::<$kind>(), |sample: &[u8]| {
                    let mut bytes = [0; size_of::<$kind>()];
                    bytes.copy_from_slice(sample);
                    <$kind>::$from(bytes) as f64
                })
            };
        }
        Ok(match (self.short(70), self.is_big_endian) {
            (2, _) => number!(u8, from_le_bytes),
            (256, _) => number!(i8, from_le_bytes),
            (4, false) => number!(i16, from_le_bytes),
            (4, true) => number!(i16, from_be_bytes),
            (512, false) => number!(u16, from_le_bytes),
            (512, true) => number!(u16, from_be_bytes),
            (8, false) => number!(i32, from_le_bytes),
            (8, true) => number!(i32, from_be_bytes),
            (16, false) => number!(f32, from_le_bytes),
            (16, true) => number!(f32, from_be_bytes),
            (64, false) => number!(f64, from_le_bytes),
            (64, true) => number!(f64, from_be_bytes),
            (other, _) => bail!("its voxels have the type {other}: expected 8 to 32 bit integers, or floats"),
        })
    }
}

fn determinant(m: &[[f64; 4]; 4]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

#[cfg(test)]
mod tests {
    use imaging::LabelMap;

    use super::*;
    use crate::volume_file;

    fn file() -> Vec<u8> {
        let affine =
            [[0.0, 0.0, 2.0, -10.0], [0.5, 0.0, 0.0, 20.0], [0.0, -0.5, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]];
        let mut labels =
            LabelMap { grid: Grid::from_affine([4, 3, 2], affine), labels: Array3::zeros((2, 3, 4)) };
        labels.labels[[1, 2, 3]] = 7;
        let mut bytes = Vec::new();
        GzDecoder::new(&volume_file::nifti(&labels).unwrap()[..]).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read_at_the_same_place() {
        let volume = parse(&file(), "MR").unwrap();
        assert_eq!(volume.grid.dims, [4, 3, 2]);
        assert_eq!(volume.grid.origin(), [-10.0, 20.0, 30.0]);
        assert_eq!(volume.grid.affine[0], [0.0, 0.0, 2.0, -10.0]);
        assert_eq!(volume.voxels[[1, 2, 3]], 7.0);
        assert_eq!(volume.voxels.sum(), 7.0);
    }

    #[test]
    fn slope_and_intercept_count() {
        let mut bytes = file();
        bytes[112..116].copy_from_slice(&2.0_f32.to_le_bytes());
        bytes[116..120].copy_from_slice(&(-1.0_f32).to_le_bytes());
        let volume = parse(&bytes, "MR").unwrap();
        assert_eq!((volume.voxels[[1, 2, 3]], volume.voxels[[0, 0, 0]]), (13.0, -1.0));
    }

    #[test]
    fn a_q_form_places_as_the_s_form_does() {
        let mut bytes = file();
        // A half turn about the third axis takes RAS to LPS; steps 1, 2, 3 mm.
        bytes[252..254].copy_from_slice(&1_i16.to_le_bytes());
        bytes[254..256].copy_from_slice(&0_i16.to_le_bytes());
        let quaternion = [0.0_f32, 0.0, 1.0, 5.0, 6.0, 7.0];
        for (idx, value) in quaternion.iter().enumerate() {
            bytes[256 + 4 * idx..260 + 4 * idx].copy_from_slice(&value.to_le_bytes());
        }
        for (idx, value) in [1.0_f32, 1.0, 2.0, 3.0].iter().enumerate() {
            bytes[76 + 4 * idx..80 + 4 * idx].copy_from_slice(&value.to_le_bytes());
        }
        let affine = parse(&bytes, "MR").unwrap().grid.affine;
        assert_eq!(affine[0], [1.0, 0.0, 0.0, -5.0]);
        assert_eq!(affine[1], [0.0, 2.0, 0.0, -6.0]);
        assert_eq!(affine[2], [0.0, 0.0, 3.0, 7.0]);
    }

    #[track_caller]
    fn refuse(change: impl FnOnce(&mut Vec<u8>), sentence: &str) {
        let mut bytes = file();
        change(&mut bytes);
        let error = format!("{:#}", parse(&bytes, "MR").unwrap_err());
        assert!(error.contains(sentence), "{error}");
    }

    #[test]
    fn what_is_no_volume_is_refused_in_words() {
        refuse(|bytes| bytes.truncate(100), "shorter than a NIfTI-1 header");
        refuse(|bytes| bytes[344] = b'x', "is no NIfTI-1 file");
        refuse(|bytes| bytes.truncate(bytes.len() - 1), "it is cut");
        refuse(|bytes| bytes[40] = 9, "it states 9 axes");
        refuse(|bytes| bytes[42..44].copy_from_slice(&(-4_i16).to_le_bytes()), "is not positive");
        refuse(|bytes| (bytes[40], bytes[48]) = (4, 2), "several volumes");
        refuse(|bytes| bytes[70] = 32, "have the type 32");
        refuse(|bytes| bytes[254] = 0, "does not say where it lies");
        refuse(|bytes| bytes[280..328].fill(0), "its affine is flat");
        refuse(|bytes| bytes[108..112].copy_from_slice(&10_f32.to_le_bytes()), "inside the header");
        refuse(|bytes| bytes[108..112].copy_from_slice(&f32::MAX.to_le_bytes()), "it is cut");
    }
}
