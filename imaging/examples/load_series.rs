//! Loads the series in a folder, prints its geometry and how long each round took, and keeps the voxels.
//!
//!     cargo run --release -p imaging --example load_series -- FOLDER [ROUNDS [OUT.npy]]
//!
//! Each round's line is JSON: wall and CPU seconds from the folder's name to the volume. One round before them warms up.
#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::{
    error::Error,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use imaging::{Header, Volume, load_volumes};
use rayon::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let rounds: u32 = arguments.next().map_or(Ok(1), |rounds| rounds.parse())?;
    for volume in load(&folder)? {
        let [columns, rows, slices] = volume.grid.dims;
        println!("{columns} x {rows} x {slices}, spacing {:?} mm", volume.grid.spacing());
    }
    let mut last = Vec::new();
    for _ in 0..rounds {
        let (started, cpu) = (Instant::now(), cpu_seconds()?);
        last = load(&folder)?;
        let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
        println!("{{\"s\": {seconds}, \"cpu_s\": {cpu}}}");
    }
    match (arguments.next(), last.first()) {
        (Some(out), Some(volume)) => write_npy(Path::new(&out), volume),
        _ => Ok(()),
    }
}

fn load(folder: &Path) -> Result<Vec<Volume>, Box<dyn Error>> {
    let entries =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    let sources: Vec<(Header, PathBuf)> =
        entries.into_par_iter().filter_map(|path| Some((Header::read_file(&path).ok()?, path))).collect();
    Ok(load_volumes(&sources)?)
}

/// What all threads of this process have used so far: utime and stime of proc(5), which counts hundredths of a second.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let line = fs::read_to_string("/proc/self/stat")?;
    let after_name = line.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// NumPy's format, version 1.0: float32, (slice, row, column).
fn write_npy(path: &Path, volume: &Volume) -> Result<(), Box<dyn Error>> {
    let [columns, rows, slices] = volume.grid.dims;
    let head =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({slices}, {rows}, {columns}), }}");
    let head = format!("{head:<117}\n");
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(head.len() as u16).to_le_bytes())?;
    file.write_all(head.as_bytes())?;
    for value in &volume.voxels {
        file.write_all(&value.to_le_bytes())?;
    }
    Ok(file.flush()?)
}
