//! `overread run`: one model on one folder, without server, database or configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use inference::{Control, Model, Package, Urgency};
use pipeline::{ReadOnce, Reading};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{JsonFlag, Output, model::open_runtime, send, terminal};
use crate::{config::Config, exit::Failure, service::settings, volume_file};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overread run --model mr-brain-seg --in study/ --out findings/
  overread run --model ./my-model --in study/ --out findings/ --json

Writes seg.dcm, sr.dcm, mask.nii.gz and findings.json. A demonstration model may be
run here; what it writes says what it is.")]
pub(crate) struct RunArgs {
    /// The id of a model in models.dir, or the folder of a package.
    #[arg(long)]
    model: String,
    /// Folder with DICOM files; one study.
    #[arg(long = "in", value_name = "DIR")]
    input: PathBuf,
    /// Folder for the findings; made when it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    json: JsonFlag,
}

pub(crate) fn run(args: RunArgs, config: &Config) -> Result<(), Failure> {
    Ok(read(&args, config)?)
}

fn read(args: &RunArgs, config: &Config) -> anyhow::Result<()> {
    let package = find(&args.model, &config.models.dir)?;
    let runtime = open_runtime(config)?;
    let model = Model::open(&runtime, package, settings::device(config), settings::threads(config))?;
    let mut files = Vec::new();
    send::collect(&args.input, &mut files)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;

    let order = ReadOnce { installation: Uuid::new_v4(), written_at: OffsetDateTime::now_utc() };
    let bar = terminal::bar(1000, "reading");
    let progress = |done: f32| bar.set_position((done * 1000.0) as u64);
    let control = Control { progress: &progress, cancelled: &|| false, urgency: Urgency::Interactive };
    let reading = pipeline::read_once(&model, &files, &order, &control);
    bar.finish_and_clear();
    let reading =
        reading.with_context(|| format!("cannot read {} with {}", args.input.display(), args.model))?;
    let written = write(&reading, &args.out)?;
    show(&reading, &written, args.json.output())
}

/// A folder is a package; a word is the id of one in `models.dir`.
fn find(model: &str, dir: &Path) -> anyhow::Result<Package> {
    if Path::new(model).join(inference::package::MANIFEST).is_file() {
        return Ok(Package::read(Path::new(model))?);
    }
    let mut known = Vec::new();
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot read models.dir {}", dir.display()))?;
    for entry in entries {
        let folder = entry.with_context(|| format!("cannot read models.dir {}", dir.display()))?.path();
        if !folder.join(inference::package::MANIFEST).is_file() {
            continue;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A broken package of another name is not in the way.
        match Package::read(&folder) {
            Ok(package)
                if package.id.as_str() == model
                    || package.aliases.iter().any(|alias| alias.as_str() == model) =>
            {
                return Ok(package);
            }
            Err(error) if name == model => return Err(error.into()),
            Ok(package) => known.push(package.id.to_string()),
            Err(_) => known.push(name),
        }
    }
    known.sort();
    bail!("there is no model {model:?} in {}; there are: {}", dir.display(), known.join(", "))
}

fn write(reading: &Reading, out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let mut keep = |name: String, bytes: &[u8]| {
        let path = out.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
        anyhow::Ok(())
    };
    for (idx, object) in reading.objects.iter().enumerate() {
        let first_of_role = reading.objects.iter().position(|other| other.role == object.role) == Some(idx);
        let name =
            if first_of_role { format!("{}.dcm", object.role) } else { format!("{}-{idx}.dcm", object.role) };
        keep(name, &object.encoded.bytes)?;
    }
    if let Some(labels) = &reading.labels {
        keep("mask.nii.gz".to_owned(), &volume_file::nifti(labels)?)?;
    }
    let findings = serde_json::to_string_pretty(&reading.findings)? + "\n";
    keep("findings.json".to_owned(), findings.as_bytes())?;
    Ok(written)
}

fn show(reading: &Reading, written: &[PathBuf], output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => {
            let report =
                json!({ "series_uid": reading.series, "findings": reading.findings, "files": written });
            terminal::line(&serde_json::to_string_pretty(&report)?);
        }
        Output::Text => {
            terminal::print(&crate::findings::table(&reading.findings));
            for file in written {
                terminal::line(&format!("wrote {}", file.display()));
            }
        }
    }
    Ok(())
}
