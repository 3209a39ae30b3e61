//! Packages in a temporary folder around the tiny graphs of `tests/models`.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use imaging::{Facts, Grid, Header, SeriesUid, SopClassUid, SopInstanceUid, StudyUid, Uid, Volume};
use inference::{Deidentified, Device, Model, Package, Runtime, deidentify};
use ndarray::Array3;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub(crate) fn runtime() -> Runtime {
    let configured = std::env::var_os("OVERREAD__RUNTIME__ONNXRUNTIME").map(PathBuf::from);
    Runtime::open(configured.as_deref()).expect("the tests need ONNX Runtime: run `make runtime`")
}

fn here(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(part)
}

pub(crate) fn reference(name: &str) -> ndarray::ArrayD<f64> {
    inference::npy::read(&here("reference").join(name)).unwrap()
}

pub(crate) fn reference_volume(name: &str) -> Array3<f32> {
    reference(name).mapv(|value| value as f32).into_dimensionality().unwrap()
}

/// A folder of packages.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a package whose manifest is `manifest` with `SHA256` replaced.
    pub(crate) fn write(&self, folder: &str, graph: &str, manifest: &str) -> PathBuf {
        let dir = self.path().join(folder);
        fs::create_dir_all(&dir).unwrap();
        let weights = fs::read(here("models").join(graph)).unwrap();
        let digest = Sha256::digest(&weights).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        fs::write(dir.join("model.onnx"), weights).unwrap();
        fs::write(dir.join("model.toml"), manifest.replace("SHA256", &digest)).unwrap();
        dir
    }

    /// Writes a package and records its self-test.
    pub(crate) fn install(&self, folder: &str, graph: &str, manifest: &str) -> PathBuf {
        let dir = self.write(folder, graph, manifest);
        open(&dir).record_self_test().unwrap();
        dir
    }

    pub(crate) fn model(&self, graph: &str, manifest: &str) -> Model {
        open(&self.install("tiny", graph, manifest))
    }
}

pub(crate) fn threads() -> NonZeroUsize {
    NonZeroUsize::new(2).unwrap()
}

pub(crate) fn open(dir: &Path) -> Model {
    let package = Package::read(dir).unwrap_or_else(|error| panic!("{error}"));
    Model::open(&runtime(), package, Device::Cpu, threads()).unwrap()
}

pub(crate) const HEAD: &str = r#"
format = 1
id = "tiny"
version = "1.0.0"
name = "Tiny"
intended_use = "for tests"
[[weights]]
file = "model.onnx"
sha256 = "SHA256"
[selftest]
input = "selftest/input.npy"
expected = "selftest/expected.npy"
tolerance = 1e-4
"#;

const LABEL: &str = r#"
category = ["49755003", "SCT", "Morphologically Abnormal Structure"]
type = ["52988006", "SCT", "Lesion"]
"#;

/// A 3D segmentation with one channel; `input` and `window` are further lines of their tables.
pub(crate) fn segmentation(input: &str, window: &str) -> String {
    format!(
        r#"task = "segmentation"
{HEAD}
[applies_to]
modality = ["MR"]
[input]
tensor = "input"
dimensions = 3
{input}
[[input.channel]]
name = "T1"
[window]
roi = [16, 16, 16]
{window}
[output]
tensor = "logits"
activation = "softmax"
[[output.label]]
value = 1
name = "Lesion"
{LABEL}
"#
    )
}

/// The same with a second label and a second channel where asked.
pub(crate) fn with_label(manifest: &str, value: u8) -> String {
    format!("{manifest}[[output.label]]\nvalue = {value}\nname = \"Label {value}\"\n{LABEL}")
}

fn uid(text: &str) -> Uid {
    Uid::parse(text).unwrap()
}

pub(crate) fn volume_on(grid: Grid, voxels: Array3<f32>) -> Deidentified<Volume> {
    let mut header = Header::new(
        SopClassUid::from(uid("1.2.840.10008.5.1.4.1.1.4")),
        SopInstanceUid::from(uid("1.2.3.1")),
        StudyUid::from(uid("1.2.3.2")),
        SeriesUid::from(uid("1.2.3.3")),
        uid("1.2.840.10008.1.2.1"),
    );
    header.facts = Facts {
        modality: "MR".into(),
        frame_of_reference: Some(uid("1.2.3.4")),
        position: Some(grid.origin()),
        orientation: Some(grid.orientation()),
        ..Facts::default()
    };
    deidentify(Volume {
        grid,
        voxels,
        frames: Vec::new(),
        header,
        split: None,
        holes: Vec::new(),
        left_out: Vec::new(),
    })
}

/// A volume of cubes of 1 mm, straight.
pub(crate) fn volume(voxels: Array3<f32>) -> Deidentified<Volume> {
    let (slices, rows, columns) = voxels.dim();
    let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    volume_on(Grid::from_affine([columns, rows, slices], affine), voxels)
}
