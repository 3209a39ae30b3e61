//! `overread demo`: everything at once on a synthetic study, with nothing set up.
//!
//! It starts the same service that `overread serve` runs, sends itself the study over real
//! C-STORE, and from then on is a client of the public API like any other.

mod client;
mod orthanc;
mod phantom;
mod show;
mod write_study;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    cli::{JsonFlag, Output, terminal},
    config::Overrides,
    exit::Failure,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overread demo                                    findings in a minute, in ./data/demo
  overread demo --pacs orthanc                     the same beside a real Orthanc
  overread demo --write-study phantom/ --seed 7    only makes a study to try things on")]
pub(crate) struct DemoArgs {
    /// Starts a private PACS too, and writes the results back into it.
    #[arg(long, value_enum)]
    pacs: Option<Pacs>,
    /// Folder for everything that the demonstration keeps.
    #[arg(long, value_name = "DIR", default_value = "data/demo")]
    dir: PathBuf,
    /// Ends when the findings are shown, instead of serving until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Only writes the synthetic study into DIR and prints the truth about it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["pacs", "once"])]
    write_study: Option<PathBuf>,
    #[command(flatten)]
    study: StudyArgs,
    #[command(flatten)]
    json: JsonFlag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pacs {
    /// The Orthanc of the distribution.
    Orthanc,
}

impl DemoArgs {
    /// Tells a person; with `--json` standard output is a script's.
    fn say(&self, text: &str) {
        match self.json.output() {
            Output::Text => terminal::line(text),
            Output::Json => terminal::note(text),
        }
    }
}

/// Which synthetic study.
#[derive(Debug, Clone, Args)]
pub(crate) struct StudyArgs {
    /// Another number, another head.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Slices of the series.
    #[arg(long, default_value_t = 160)]
    slices: u16,
    /// Distance of the slices in mm.
    #[arg(long, value_name = "MM", default_value_t = 1.0)]
    slice_spacing: f64,
    /// How the slices lie in the head.
    #[arg(long, value_enum, default_value_t = Orientation::Sagittal)]
    orientation: Orientation,
    /// Writes the made-up patient's name in Korean.
    #[arg(long)]
    korean: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Orientation {
    Axial,
    Sagittal,
    Coronal,
    Oblique,
}

pub(crate) fn run(args: DemoArgs, overrides: Overrides) -> Result<(), Failure> {
    match &args.write_study {
        Some(dir) => write_study::run(dir, &args.study, args.json.output()),
        None => show::run(&args, overrides),
    }
}
