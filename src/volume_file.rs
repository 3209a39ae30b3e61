//! A label map as NIfTI-1, for programs that do not read DICOM.

use std::io::Write;

use anyhow::Context;
use flate2::{Compression, write::GzEncoder};
use imaging::LabelMap;

const HEADER_BYTES: usize = 348;
/// Header and the four bytes that say "no extensions".
const VOXEL_OFFSET: f32 = 352.0;
const DATATYPE_UINT8: i16 = 2;
const UNITS_MM: u8 = 2;
/// The affine is that of the scanner.
const SCANNER: i16 = 1;

/// The file `mask.nii.gz`. Voxels lie in the order (column, row, slice); the affine is the grid's,
/// turned from DICOM's LPS to NIfTI's RAS.
///
/// # Errors
/// When the grid is larger than the format can say, or compression fails.
pub(crate) fn nifti(labels: &LabelMap) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&header(labels)?).context("cannot compress the mask")?;
    let voxels = labels.labels.as_standard_layout();
    let bytes = voxels.as_slice().context("the mask is not contiguous")?;
    encoder.write_all(bytes).and_then(|()| encoder.finish()).context("cannot compress the mask")
}

fn header(labels: &LabelMap) -> anyhow::Result<Vec<u8>> {
    let grid = &labels.grid;
    let spacing = grid.spacing();
    let mut header = vec![0_u8; HEADER_BYTES + 4];
    let mut put = |offset: usize, bytes: &[u8]| header[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, &(HEADER_BYTES as i32).to_le_bytes());
    put(40, &3_i16.to_le_bytes());
    for (axis, size) in grid.dims.iter().enumerate() {
        let size = i16::try_from(*size).context("NIfTI-1 holds at most 32767 voxels in a row")?;
        put(42 + 2 * axis, &size.to_le_bytes());
        put(80 + 4 * axis, &(spacing[axis] as f32).to_le_bytes());
    }
    for axis in 3..7 {
        put(42 + 2 * axis, &1_i16.to_le_bytes());
    }
    put(70, &DATATYPE_UINT8.to_le_bytes());
    put(72, &8_i16.to_le_bytes());
    put(76, &1.0_f32.to_le_bytes());
    put(108, &VOXEL_OFFSET.to_le_bytes());
    put(112, &1.0_f32.to_le_bytes());
    put(123, &[UNITS_MM]);
    put(254, &SCANNER.to_le_bytes());
    for (row, values) in grid.affine.iter().take(3).enumerate() {
        // LPS and RAS differ in the sign of the first two axes.
        let sign = if row < 2 { -1.0 } else { 1.0 };
        for (column, value) in values.iter().enumerate() {
            put(280 + 16 * row + 4 * column, &((sign * value) as f32).to_le_bytes());
        }
    }
    put(344, b"n+1\0");
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use imaging::Grid;
    use ndarray::Array3;

    use super::*;

    #[test]
    fn the_header_says_size_place_and_type() {
        let affine =
            [[0.0, 0.0, 2.0, -10.0], [0.5, 0.0, 0.0, 20.0], [0.0, -0.5, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]];
        let mut labels =
            LabelMap { grid: Grid::from_affine([4, 3, 2], affine), labels: Array3::zeros((2, 3, 4)) };
        labels.labels[[1, 2, 3]] = 7;
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&nifti(&labels).unwrap()[..]).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 352 + 24);
        assert_eq!(&bytes[42..48], [4, 0, 3, 0, 2, 0]);
        assert_eq!(bytes[352 + 23], 7);
        let float = |offset: usize| f32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap());
        assert_eq!((float(288), float(292)), (-2.0, 10.0));
        assert_eq!((float(296), float(308)), (-0.5, -20.0));
        assert_eq!((float(80), float(84), float(88)), (0.5, 0.5, 2.0));
    }
}
