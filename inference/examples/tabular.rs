//! Times a tabular package in process: `tabular PACKAGE [ROUNDS]`, with ORT_DYLIB_PATH set.
//!
//! The rows are those of the package's self-test, as a client would send them. Prints the best and the median of a
//! single row, and of a hundred rows in one call, in microseconds.
#![expect(clippy::print_stdout, reason = "an example talks to the terminal")]

use std::{error::Error, num::NonZeroUsize, path::PathBuf, time::Instant};

use inference::{Device, Model, Outcome, Package, Row, Runtime, npy, package::Task};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("which package?")?);
    let rounds: usize = arguments.next().map_or(Ok(2000), |rounds| rounds.parse())?;
    let model = Model::open(&Runtime::open(None)?, Package::read(&dir)?, Device::Cpu, NonZeroUsize::MIN)?;
    let rows = rows(&model)?;
    println!("{}, {} different rows", model.package().full_name(), rows.len());
    for count in [1, 100] {
        let batches: Vec<Vec<Row>> =
            (0..50).map(|first| rows.iter().cycle().skip(first).take(count).cloned().collect()).collect();
        let mut times = Vec::with_capacity(rounds);
        for round in 0..rounds {
            let batch = &batches[round % batches.len()];
            let started = Instant::now();
            let answers = model.predict(batch)?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
            if answers.len() != count || !answers.iter().all(|answer| matches!(answer, Outcome::Findings(_)))
            {
                return Err("a row was not answered".into());
            }
        }
        times.sort_by(f64::total_cmp);
        let (best, median) = (times[0], times[rounds / 2]);
        println!("{{\"rows\": {count}, \"best_us\": {best:.1}, \"median_us\": {median:.1}}}");
    }
    Ok(())
}

/// The rows of the self-test, by name.
fn rows(model: &Model) -> Result<Vec<Row>, Box<dyn Error>> {
    let Task::Tabular(table) = &model.package().task else { return Err("it is no tabular package".into()) };
    let values = npy::read(&model.package().dir.join(&model.package().self_test.input))?;
    let row = |values: ndarray::ArrayViewD<'_, f64>| {
        let named = table.features.iter().zip(values.iter().copied());
        named
            .filter(|(_, value)| !value.is_nan())
            .map(|(feature, value)| (feature.name.clone(), value))
            .collect()
    };
    Ok(values.outer_iter().map(row).collect())
}
