//! Every transfer syntax, colour space and pixel type, compared with what pydicom decodes.

use imaging::{Image, load_image};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::data;

/// Decoders of lossy syntaxes, and colour conversions, may differ by rounding.
const LOSSY_TOLERANCE: f32 = 3.0;

/// JPEG baseline and extended, lossy JPEG 2000, JPEG put into JPEG XL.
const LOSSY: [&str; 4] =
    ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.111"];

#[test]
fn every_file_decodes_to_the_values_that_pydicom_gives() {
    let reference = data::reference("pixels.json");
    let failures: Vec<String> = data::files("syntaxes")
        .iter()
        .filter_map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let expected = &reference[name];
            assert!(expected.is_object(), "{name} has no reference");
            compare(path, expected).err().map(|reason| format!("{name}: {reason}"))
        })
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

fn compare(path: &std::path::Path, expected: &Value) -> Result<(), String> {
    let frames = expected["frame"].as_object().unwrap();
    let is_lossy = LOSSY.contains(&expected["syntax"].as_str().unwrap());
    for (number, expected) in frames {
        let image = load_image(path, number.parse().unwrap()).map_err(|error| error.to_string())?;
        let values = values(&image);
        let is_converted = expected_ybr(path);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if expected["sha256"] == *digest {
            continue;
        }
        if !is_lossy && !is_converted {
            return Err(format!("frame {number} differs: {}", difference(&values, expected)));
        }
        let largest = difference(&values, expected);
        if largest > LOSSY_TOLERANCE {
            return Err(format!("frame {number} differs by {largest}"));
        }
    }
    Ok(())
}

/// Colours that were converted from YBR, so that rounding may differ by one.
fn expected_ybr(path: &std::path::Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().contains("ybr")
}

fn values(image: &Image) -> Vec<f32> {
    match image {
        Image::Grey(values) => values.iter().copied().collect(),
        Image::Colour { values, .. } => values.iter().copied().collect(),
    }
}

/// The largest difference at the places that the reference holds; infinite when the sizes differ.
fn difference(values: &[f32], expected: &Value) -> f32 {
    let size: u64 = expected["shape"].as_array().unwrap().iter().map(|edge| edge.as_u64().unwrap()).product();
    if size != values.len() as u64 {
        return f32::INFINITY;
    }
    let places = expected["places"].as_array().unwrap().iter().map(|place| place.as_u64().unwrap() as usize);
    let at = expected["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32);
    places.zip(at).map(|(place, value)| (values[place] - value).abs()).fold(0.0, f32::max)
}

#[test]
fn one_image_in_five_syntaxes_has_the_same_values() {
    let image = |name: &str| load_image(&data::folder("syntaxes").join(name), 1).unwrap();
    let plain = image("MR_small.dcm");
    for name in [
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ] {
        assert!(image(name) == plain, "{name}");
    }
}

#[test]
fn a_frame_that_is_not_there_is_named() {
    let path = data::folder("syntaxes").join("will-jxl.dcm");
    let error = load_image(&path, 28).unwrap_err();
    assert_eq!(error.to_string(), "frame 28 cannot be decoded: the instance has 27 frames");
}
