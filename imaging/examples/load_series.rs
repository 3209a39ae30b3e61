//! Loads the series in a folder and prints its geometry and how long each step took.
//!
//!     cargo run --release -p imaging --example load_series -- FOLDER [ROUNDS]
#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::{
    error::Error,
    path::{Path, PathBuf},
    time::Instant,
};

use imaging::{Header, load_volumes};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let rounds: u32 = arguments.next().map_or(Ok(1), |rounds| rounds.parse())?;
    for _ in 0..rounds {
        load(Path::new(&folder))?;
    }
    Ok(())
}

fn load(folder: &Path) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if let Ok(header) = Header::read_file(&path) {
            sources.push((header, path));
        }
    }
    let headers = started.elapsed();
    let volumes = load_volumes(&sources)?;
    let whole = started.elapsed();
    // The sum is not part of the time.
    for volume in &volumes {
        let mean =
            volume.voxels.iter().map(|value| f64::from(*value)).sum::<f64>() / volume.voxels.len() as f64;
        let [columns, rows, slices] = volume.grid.dims;
        println!("{columns} x {rows} x {slices}, spacing {:?} mm, mean {mean}", volume.grid.spacing());
    }
    println!(
        "{} headers in {:.1} ms, with pixels {:.1} ms",
        sources.len(),
        headers.as_secs_f64() * 1e3,
        whole.as_secs_f64() * 1e3
    );
    Ok(())
}
