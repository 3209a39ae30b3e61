//! `overread run`: one model on one folder or NIfTI file, without server, database or configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use imaging::{LabelMap, SeriesUid};
use inference::{Control, Findings, Heatmap, Model, Outcome, Package, Urgency, deidentify, package::Task};
use ndarray::Array3;
use pipeline::{ReadObject, ReadOnce, Reading};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    JsonFlag, Output,
    model::open_runtime,
    preview::{self, Drawn},
    send, terminal,
};
use crate::{config::Config, exit::Failure, nifti, service::settings, volume_file};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overread run --model mr-brain-seg --in study/ --out findings/
  overread run --model ./my-model --in study/ --out findings/ --json
  overread run --model mr-brain-seg --in t1ce.nii.gz --out findings/

Writes seg.dcm, sr.dcm, heatmap.dcm (as the model says), mask.nii.gz, findings.json and
preview-1.png … with what was found drawn over the image. A NIfTI file has no patient, so no
DICOM object is made of it. A demonstration model may be run here; what it writes says what
it is.")]
pub(crate) struct RunArgs {
    /// The id of a model in models.dir, or the folder of a package.
    #[arg(long)]
    model: String,
    /// Folder with DICOM files of one study, or a NIfTI file (.nii, .nii.gz).
    #[arg(long = "in", value_name = "DIR|FILE")]
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
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;

    let bar = terminal::bar(1000, "reading");
    let progress = |done: f32| bar.set_position((done * 1000.0) as u64);
    let control = Control { progress: &progress, cancelled: &|| false, urgency: Urgency::Interactive };
    let answer = if nifti::is_named_so(&args.input) {
        of_nifti(&model, &args.input, &control)
    } else {
        of_dicom(&model, &args.input, &control)
    };
    bar.finish_and_clear();
    let answer =
        answer.with_context(|| format!("cannot read {} with {}", args.input.display(), args.model))?;
    let written = write(&answer, model.package(), &args.out)?;
    show(&answer, &written, args.json.output())
}

/// What one run gave, whatever it was run on.
struct Answer {
    /// None for what never was a series.
    series: Option<SeriesUid>,
    findings: Value,
    objects: Vec<ReadObject>,
    labels: Option<LabelMap>,
    heatmap: Option<Heatmap>,
    voxels: Option<Array3<f32>>,
}

fn of_dicom(model: &Model, input: &Path, control: &Control<'_>) -> anyhow::Result<Answer> {
    let mut files = Vec::new();
    send::collect(input, &mut files)?;
    let order = ReadOnce { installation: Uuid::new_v4(), written_at: OffsetDateTime::now_utc() };
    let Reading { series, findings, objects, labels, heatmap, voxels, .. } =
        pipeline::read_once(model, &files, &order, control)?;
    Ok(Answer { series: Some(series), findings, objects, labels, heatmap, voxels })
}

/// The person who named the file says that it suits: a NIfTI file does not tell what it shows.
fn of_nifti(model: &Model, input: &Path, control: &Control<'_>) -> anyhow::Result<Answer> {
    let package = model.package();
    let modalities = package.applies_to.as_ref().and_then(|applies_to| applies_to.modality.as_deref());
    let modality = modalities.and_then(|modalities| modalities.first()).map_or("", String::as_str);
    let volume = nifti::read(input, modality)?;
    let voxels = Some(volume.voxels.clone());
    let volumes = vec![deidentify(volume)];
    let (findings, labels, heatmap) = match &package.task {
        Task::Segmentation(_) => match model.segment(volumes, control)? {
            Outcome::Findings(found) => {
                (serde_json::to_value(Findings::Segmentation(found.findings))?, Some(found.labels), None)
            }
            Outcome::NotAnalysed { reason } => (not_analysed(&reason), None, None),
        },
        Task::Classification(_) => match model.classify(volumes, control)? {
            Outcome::Findings(found) => {
                (serde_json::to_value(Findings::Classification(found.findings))?, None, found.heatmap)
            }
            Outcome::NotAnalysed { reason } => (not_analysed(&reason), None, None),
        },
        Task::Tabular(_) | Task::Fusion(_) => bail!("{} takes no images", package.full_name()),
    };
    Ok(Answer { series: None, findings, objects: Vec::new(), labels, heatmap, voxels })
}

fn not_analysed(reason: &str) -> Value {
    json!({ "outcome": "not_analysed", "reason": reason })
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

fn write(answer: &Answer, package: &Package, out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let mut keep = |name: String, bytes: &[u8]| {
        let path = out.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
        anyhow::Ok(())
    };
    for (idx, object) in answer.objects.iter().enumerate() {
        let first_of_role = answer.objects.iter().position(|other| other.role == object.role) == Some(idx);
        let name =
            if first_of_role { format!("{}.dcm", object.role) } else { format!("{}-{idx}.dcm", object.role) };
        keep(name, &object.encoded.bytes)?;
    }
    if let Some(labels) = &answer.labels {
        keep("mask.nii.gz".to_owned(), &volume_file::nifti(labels)?)?;
    }
    if let Some(voxels) = &answer.voxels {
        let (labels, heatmap) = (answer.labels.as_ref(), answer.heatmap.as_ref());
        for (name, png) in preview::previews(&Drawn { package, voxels, labels, heatmap })? {
            keep(name, &png)?;
        }
    }
    let findings = serde_json::to_string_pretty(&answer.findings)? + "\n";
    keep("findings.json".to_owned(), findings.as_bytes())?;
    Ok(written)
}

fn show(answer: &Answer, written: &[PathBuf], output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => {
            let report =
                json!({ "series_uid": answer.series, "findings": answer.findings, "files": written });
            terminal::line(&serde_json::to_string_pretty(&report)?);
        }
        Output::Text => {
            terminal::print(&crate::findings::table(&answer.findings));
            for file in written {
                terminal::line(&format!("wrote {}", file.display()));
            }
        }
    }
    Ok(())
}
