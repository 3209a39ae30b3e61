//! Segments a ready volume with a bare graph: what the side-by-side bench of sliding windows runs.
//!
//! `sliding_window GRAPH INPUT VOLUME.npy OVERLAP ROI THREADS CLASSES OUT.npy [EMPTY_AT]`; INPUT is the name of the graph's
//! input, its output is `logits`; the volume is float32 (slice, row, column) and is fed as it is. With EMPTY_AT, windows that hold
//! nothing above it are not run. The last line printed is JSON with the seconds of the run itself.
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use std::{error::Error, fs, num::NonZeroUsize, path::Path, time::Instant};

use imaging::{Grid, Header, SeriesUid, SopClassUid, SopInstanceUid, StudyUid, Uid, Volume};
use inference::{Control, Device, Model, Outcome, Package, Runtime, deidentify, npy};
use sha2::{Digest as _, Sha256};

const USAGE: &str =
    "usage: sliding_window GRAPH INPUT VOLUME.npy OVERLAP ROI THREADS CLASSES OUT.npy [EMPTY_AT]";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let (arguments, empty_at) = arguments.split_at_checked(8).ok_or(USAGE)?;
    let [graph, input, volume, overlap, roi, threads, classes, out] = arguments else {
        return Err(USAGE.into());
    };
    let skip = empty_at.first().map(|at| format!("skip_empty = true\nempty_at = {at}\n")).unwrap_or_default();
    let folder = std::env::temp_dir().join(format!("sliding-window-{}", std::process::id()));
    let dir = folder.join("bench");
    fs::create_dir_all(&dir)?;
    let package = package(&dir, [graph, input, overlap, roi, &skip].map(String::as_str), classes.parse()?);
    let started = Instant::now();
    let model = Model::open(&Runtime::open(None)?, package?, Device::Cpu, threads.parse::<NonZeroUsize>()?)?;
    fs::remove_dir_all(&folder)?;
    let load_s = started.elapsed().as_secs_f64();
    let volume = deidentify(read(Path::new(volume))?);
    let (started, cpu) = (Instant::now(), cpu_seconds()?);
    match model.segment(vec![volume], &Control::unattended())? {
        Outcome::NotAnalysed { reason } => Err(reason.into()),
        Outcome::Findings(found) => {
            let (infer_s, cpu_s) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
            npy::write_u8(Path::new(out), &found.labels.labels.into_dyn())?;
            let patches = found.findings.windows_run;
            println!(
                "{{\"load_s\": {load_s}, \"infer_s\": {infer_s}, \"infer_cpu_s\": {cpu_s}, \"patches\": {patches}}}"
            );
            Ok(())
        }
    }
}

/// What all threads of this process have used so far: utime and stime of proc(5), which counts hundredths of a second.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let line = fs::read_to_string("/proc/self/stat")?;
    let after_name = line.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// A package around the bare graph, whose classes are all labels.
fn package(
    dir: &Path,
    [graph, input, overlap, roi, skip]: [&str; 5],
    classes: u8,
) -> Result<Package, Box<dyn Error>> {
    let weights = fs::read(graph)?;
    let digest = Sha256::digest(&weights).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    fs::write(dir.join("model.onnx"), &weights)?;
    let label = |value: u8| {
        format!(
            "[[output.label]]\nvalue = {value}\nname = \"{value}\"\ncategory = [\"1\", \"99BENCH\", \"bench\"]\ntype = [\"1\", \"99BENCH\", \"bench\"]\n"
        )
    };
    let labels = (1..classes).map(label).collect::<String>();
    let manifest = format!(
        "format = 1\nid = \"bench\"\nversion = \"1.0.0\"\nname = \"Bench\"\ntask = \"segmentation\"\nintended_use = \"benches\"\n\
         [[weights]]\nfile = \"model.onnx\"\nsha256 = \"{digest}\"\n[selftest]\ninput = \"i.npy\"\nexpected = \"e.npy\"\ntolerance = 0.0\n\
         [applies_to]\nmodality = [\"MR\"]\n[input]\ntensor = \"{input}\"\ndimensions = 3\n[[input.channel]]\nname = \"volume\"\n\
         [window]\nroi = [{roi}, {roi}, {roi}]\noverlap = {overlap}\n{skip}[output]\ntensor = \"logits\"\n{labels}"
    );
    fs::write(dir.join("model.toml"), manifest)?;
    Ok(Package::read(dir)?)
}

fn read(path: &Path) -> Result<Volume, Box<dyn Error>> {
    let voxels = npy::read(path)?.mapv(|value| value as f32).into_dimensionality()?;
    let (slices, rows, columns): (usize, usize, usize) = ndarray::Array3::dim(&voxels);
    let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let uid = Uid::parse("2.25.1")?;
    let header = Header::new(
        SopClassUid::from(uid.clone()),
        SopInstanceUid::from(uid.clone()),
        StudyUid::from(uid.clone()),
        SeriesUid::from(uid.clone()),
        uid,
    );
    Ok(Volume {
        grid: Grid::from_affine([columns, rows, slices], affine),
        voxels,
        frames: Vec::new(),
        header,
        split: None,
        holes: Vec::new(),
        left_out: Vec::new(),
    })
}
