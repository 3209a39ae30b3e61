//! Synthetic instances: a bright ball in patient space, sampled by whatever planes a test asks for.

use std::path::{Path, PathBuf};

use dicom_core::{
    DataElement, PrimitiveValue, Tag, VR,
    value::{DataSetSequence, PixelFragmentSequence},
};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, open_file};
use dicom_pixeldata::Transcode as _;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex as _, TransferSyntaxRegistry};
use imaging::Header;

pub(crate) type Point = [f64; 3];

/// A ball of 10 mm radius: 1000 inside, falling to 0 over a millimetre, 0 outside.
pub(crate) const CENTRE: Point = [12.0, -7.0, 31.0];
pub(crate) const RADIUS: f64 = 10.0;

pub(crate) fn ball(point: Point) -> f64 {
    let distance = (0..3).map(|axis| (point[axis] - CENTRE[axis]).powi(2)).sum::<f64>().sqrt();
    1000.0 * (RADIUS + 0.5 - distance).clamp(0.0, 1.0)
}

/// Planes that cover the ball.
#[derive(Clone)]
pub(crate) struct Planes {
    pub(crate) orientation: [f64; 6],
    pub(crate) pixel_spacing: [f64; 2],
    pub(crate) size: [usize; 2],
    pub(crate) positions: Vec<Point>,
}

impl Planes {
    /// `heights` are distances from the centre of the ball along the normal.
    pub(crate) fn through_ball(orientation: [f64; 6], pixel_spacing: [f64; 2], heights: &[f64]) -> Self {
        let size = [48, 40];
        let normal = normal(orientation);
        let (row, column) = halves(orientation);
        let corner = |height: f64| {
            [0, 1, 2].map(|axis| {
                let right = row[axis] * pixel_spacing[1] * size[0] as f64 / 2.0;
                let down = column[axis] * pixel_spacing[0] * size[1] as f64 / 2.0;
                CENTRE[axis] + normal[axis] * height - right - down
            })
        };
        Self {
            orientation,
            pixel_spacing,
            size,
            positions: heights.iter().map(|height| corner(*height)).collect(),
        }
    }

    /// Each slice is shifted along the columns in proportion to its height, as a gantry tilt does.
    pub(crate) fn tilted(mut self, degrees: f64) -> Self {
        let (_, column) = halves(self.orientation);
        let normal = normal(self.orientation);
        let first = self.positions[0];
        for position in &mut self.positions {
            let height: f64 = (0..3).map(|axis| (position[axis] - first[axis]) * normal[axis]).sum();
            for axis in 0..3 {
                position[axis] += column[axis] * height * degrees.to_radians().tan();
            }
        }
        self
    }

    pub(crate) fn pixels(&self, slice: usize) -> Vec<i16> {
        let (row, column) = halves(self.orientation);
        let position = self.positions[slice];
        let mut pixels = Vec::with_capacity(self.size[0] * self.size[1]);
        for down in 0..self.size[1] {
            for right in 0..self.size[0] {
                let point = [0, 1, 2].map(|axis| {
                    position[axis]
                        + row[axis] * self.pixel_spacing[1] * right as f64
                        + column[axis] * self.pixel_spacing[0] * down as f64
                });
                pixels.push(ball(point).round() as i16);
            }
        }
        pixels
    }
}

fn halves([a, b, c, d, e, f]: [f64; 6]) -> (Point, Point) {
    ([a, b, c], [d, e, f])
}

pub(crate) fn normal(orientation: [f64; 6]) -> Point {
    let (a, b) = halves(orientation);
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn put(ds: &mut InMemDicomObject, tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) {
    ds.put(DataElement::new(tag, vr, value.into()));
}

fn decimals(values: &[f64]) -> PrimitiveValue {
    PrimitiveValue::Strs(
        values.iter().map(|value| format!("{value:.10}")[..].trim().chars().take(16).collect()).collect(),
    )
}

fn sequence(ds: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    ds.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

fn base(planes: &Planes, sop_class: &str, sop: &str) -> InMemDicomObject {
    let mut ds = InMemDicomObject::new_empty();
    put(&mut ds, tags::SOP_CLASS_UID, VR::UI, sop_class);
    put(&mut ds, tags::SOP_INSTANCE_UID, VR::UI, sop);
    put(&mut ds, tags::STUDY_INSTANCE_UID, VR::UI, "2.25.1");
    put(&mut ds, tags::SERIES_INSTANCE_UID, VR::UI, "2.25.2");
    put(&mut ds, tags::FRAME_OF_REFERENCE_UID, VR::UI, "2.25.3");
    put(&mut ds, tags::MODALITY, VR::CS, "MR");
    put(&mut ds, tags::ROWS, VR::US, planes.size[1] as u16);
    put(&mut ds, tags::COLUMNS, VR::US, planes.size[0] as u16);
    put(&mut ds, tags::SAMPLES_PER_PIXEL, VR::US, 1_u16);
    put(&mut ds, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    put(&mut ds, tags::BITS_ALLOCATED, VR::US, 16_u16);
    put(&mut ds, tags::BITS_STORED, VR::US, 16_u16);
    put(&mut ds, tags::HIGH_BIT, VR::US, 15_u16);
    put(&mut ds, tags::PIXEL_REPRESENTATION, VR::US, 1_u16);
    ds
}

fn pixel_data(ds: &mut InMemDicomObject, pixels: Vec<i16>) {
    let words = pixels.into_iter().map(|value| value as u16).collect();
    ds.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words)));
}

pub(crate) fn write(ds: InMemDicomObject, path: &Path) -> (Header, PathBuf) {
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    ds.with_meta(meta).unwrap().write_to_file(path).unwrap();
    (Header::read_file(path).unwrap(), path.to_owned())
}

/// One file for each plane; instance numbers run against the normal, to be of no help.
pub(crate) fn classic(planes: &Planes, folder: &Path) -> Vec<(Header, PathBuf)> {
    let count = planes.positions.len();
    let slice = |slice: usize| {
        let mut ds = base(planes, uids::MR_IMAGE_STORAGE, &format!("2.25.4.{slice}"));
        put(&mut ds, tags::INSTANCE_NUMBER, VR::IS, (count - slice).to_string());
        put(&mut ds, tags::IMAGE_POSITION_PATIENT, VR::DS, decimals(&planes.positions[slice]));
        put(&mut ds, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, decimals(&planes.orientation));
        put(&mut ds, tags::PIXEL_SPACING, VR::DS, decimals(&planes.pixel_spacing));
        pixel_data(&mut ds, planes.pixels(slice));
        write(ds, &folder.join(format!("{slice:03}.dcm")))
    };
    (0..count).map(slice).collect()
}

/// All planes in one enhanced instance, the frames in descending order; every second frame has
/// its own rescale, which gives the same modality values from halved stored ones.
pub(crate) fn enhanced(planes: &Planes, folder: &Path) -> Vec<(Header, PathBuf)> {
    let mut ds = base(planes, uids::ENHANCED_MR_IMAGE_STORAGE, "2.25.5");
    put(&mut ds, tags::NUMBER_OF_FRAMES, VR::IS, planes.positions.len().to_string());
    let mut orientation = InMemDicomObject::new_empty();
    put(&mut orientation, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, decimals(&planes.orientation));
    let mut measures = InMemDicomObject::new_empty();
    put(&mut measures, tags::PIXEL_SPACING, VR::DS, decimals(&planes.pixel_spacing));
    let mut shared = InMemDicomObject::new_empty();
    sequence(&mut shared, tags::PLANE_ORIENTATION_SEQUENCE, vec![orientation]);
    sequence(&mut shared, tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
    sequence(&mut ds, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
    let (mut groups, mut pixels) = (Vec::new(), Vec::new());
    for (frame, slice) in (0..planes.positions.len()).rev().enumerate() {
        let slope = if frame % 2 == 0 { 1 } else { 2 };
        groups.push(frame_groups(&planes.positions[slice], slope));
        pixels.extend(planes.pixels(slice).iter().map(|value| value / slope as i16));
    }
    sequence(&mut ds, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, groups);
    pixel_data(&mut ds, pixels);
    vec![write(ds, &folder.join("enhanced.dcm"))]
}

fn frame_groups(position: &Point, slope: i32) -> InMemDicomObject {
    let mut plane = InMemDicomObject::new_empty();
    put(&mut plane, tags::IMAGE_POSITION_PATIENT, VR::DS, decimals(position));
    let mut rescale = InMemDicomObject::new_empty();
    put(&mut rescale, tags::RESCALE_SLOPE, VR::DS, slope.to_string());
    put(&mut rescale, tags::RESCALE_INTERCEPT, VR::DS, "0");
    let mut groups = InMemDicomObject::new_empty();
    sequence(&mut groups, tags::PLANE_POSITION_SEQUENCE, vec![plane]);
    sequence(&mut groups, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, vec![rescale]);
    groups
}

/// The same instance in another syntax, beside the original.
pub(crate) fn transcoded(path: &Path, syntax: &str) -> (Header, PathBuf) {
    let mut object = open_file(path).unwrap();
    object.transcode(TransferSyntaxRegistry.get(syntax).unwrap()).unwrap();
    let path = path.with_extension(syntax);
    object.write_to_file(&path).unwrap();
    (Header::read_file(&path).unwrap(), path)
}

/// The same instance in RLE Lossless, in literal runs alone (PS3.5 §G.3).
pub(crate) fn rle(path: &Path) -> (Header, PathBuf) {
    let object = open_file(path).unwrap();
    let mut ds = (*object).clone();
    let bytes = ds.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    let plane = |offset: usize| -> Vec<u8> {
        let bytes: Vec<u8> = bytes.iter().skip(offset).step_by(2).copied().collect();
        bytes.chunks(128).flat_map(|run| [&[run.len() as u8 - 1], run].concat()).collect()
    };
    // The most significant byte comes first.
    let (high, low) = (plane(1), plane(0));
    let mut header = [0_u32; 16];
    header[..3].copy_from_slice(&[2, 64, 64 + high.len() as u32]);
    let mut fragment: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    fragment.extend(high);
    fragment.extend(low);
    fragment.resize(fragment.len().next_multiple_of(2), 0);
    ds.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new_fragments(vec![fragment])));
    let path = path.with_extension("rle");
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::RLE_LOSSLESS);
    ds.with_meta(meta).unwrap().write_to_file(&path).unwrap();
    (Header::read_file(&path).unwrap(), path)
}
