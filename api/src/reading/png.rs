//! A colour picture of a DICOM object, as PNG (RFC 2083), for a page that shows no DICOM.

use std::io::Write;

use dicom_object::{DefaultDicomObject, OpenFileOptions};
use flate2::{Compression, Crc, write::ZlibEncoder};

/// Why an object is no picture.
#[derive(Debug, thiserror::Error)]
#[error("the heatmap is no plain colour picture: {0}")]
pub(crate) struct NotAPicture(String);

/// One frame of an uncompressed RGB object; the last one when there are fewer.
pub(crate) fn of_frame(part10: &[u8], frame: usize) -> Result<Vec<u8>, NotAPicture> {
    let wrong = |what: &dyn std::fmt::Display| NotAPicture(what.to_string());
    let object = OpenFileOptions::new().from_reader(part10).map_err(|error| wrong(&error))?;
    let (width, height) = (number(&object, "Columns")?, number(&object, "Rows")?);
    let pixels = object.element_by_name("PixelData").map_err(|error| wrong(&error))?;
    let pixels = pixels.to_bytes().map_err(|error| wrong(&error))?;
    let size = width as usize * height as usize * 3;
    if size == 0 || pixels.len() < size || number(&object, "SamplesPerPixel")? != 3 {
        return Err(wrong(&"it is not RGB"));
    }
    let frame = frame.min(pixels.len() / size - 1);
    encode(width, height, &pixels[frame * size..(frame + 1) * size]).map_err(|error| wrong(&error))
}

fn number(object: &DefaultDicomObject, name: &str) -> Result<u32, NotAPicture> {
    let element = object.element_by_name(name).map_err(|error| NotAPicture(error.to_string()))?;
    element.to_int::<u32>().map_err(|error| NotAPicture(error.to_string()))
}

/// Eight bits RGB, no interlace, every row with filter 0.
fn encode(width: u32, height: u32, rgb: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::fast());
    for row in rgb.chunks_exact(width as usize * 3) {
        rows.write_all(&[0])?;
        rows.write_all(row)?;
    }
    let mut header = Vec::with_capacity(13);
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, b"IHDR", &header);
    chunk(&mut png, b"IDAT", &rows.finish()?);
    chunk(&mut png, b"IEND", &[]);
    Ok(png)
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(data);
    png.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    png.extend_from_slice(kind);
    png.extend_from_slice(data);
    png.extend_from_slice(&crc.sum().to_be_bytes());
}
