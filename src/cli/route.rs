//! `overread route`: which model would be run on what, and for everything else why not.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use imaging::{Header, StudyUid, Uid};
use inference::Package;
use ledger::{PageRequest, StudyFilter};
use pipeline::{Explanation, ModelRoute};
use serde::Serialize;

use super::{JsonFlag, Output, send, terminal};
use crate::{
    config::Config,
    exit::Failure,
    service::settings,
    store::{block_on, open_ledger},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overread route 1.2.840.113619.2.1        a study that has arrived
  overread route ./study                   DICOM files in a folder, as if they had arrived
  overread route --last 50                 what the rules of today would do with the last 50 studies

Nothing is started and nothing is changed: try [[site_rule]] tables here before the service has them.")]
pub(crate) struct RouteArgs {
    /// A Study Instance UID, or a folder of DICOM files.
    #[arg(value_name = "STUDY|DIR", required_unless_present = "last", conflicts_with = "last")]
    what: Option<String>,
    /// The last N studies that arrived.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    last: Option<u32>,
    #[command(flatten)]
    json: JsonFlag,
}

/// What was found out about one study.
#[derive(Debug, Serialize)]
struct Routed {
    study: String,
    /// Nothing for files that have not arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
    models: Vec<ModelRoute>,
}

pub(crate) fn run(args: RouteArgs, config: &Config) -> Result<(), Failure> {
    let packages = packages(config)?;
    let routed = match (&args.what, args.last) {
        (Some(what), _) if Path::new(what).is_dir() => vec![of_folder(Path::new(what), &packages, config)?],
        (Some(what), _) => block_on(of_study(what, &packages, config))?,
        (None, last) => block_on(of_last(last.unwrap_or(1), &packages, config))?,
    };
    show(&routed, args.json.output())
}

/// The packages that a service would run here, as far as their manifests tell.
fn packages(config: &Config) -> anyhow::Result<Vec<Package>> {
    let dir = &config.models.dir;
    let unreadable = || format!("cannot read models.dir {}", dir.display());
    let mut folders: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(unreadable)?;
    folders.retain(|folder| folder.join(inference::package::MANIFEST).is_file());
    folders.sort();
    let mut packages = Vec::new();
    for folder in folders {
        let package = Package::read(&folder)?;
        let allowed = config.models.allow_demonstration.iter().any(|id| *id == package.id.as_str());
        if package.is_demonstration() && !allowed {
            let id = &package.id;
            terminal::note(&format!(
                "{id} is left out: a demonstration that models.allow_demonstration does not name"
            ));
        } else {
            packages.push(package);
        }
    }
    Ok(packages)
}

fn of_folder(folder: &Path, packages: &[Package], config: &Config) -> anyhow::Result<Routed> {
    let mut files = Vec::new();
    send::collect(folder, &mut files)?;
    let mut headers: Vec<Header> = Vec::with_capacity(files.len());
    for file in &files {
        match Header::read_file(file) {
            Ok(header) => headers.push(header),
            Err(error) => terminal::note(&format!("{} is left out: {error}", file.display())),
        }
    }
    let Some(first) = headers.first() else {
        bail!("there is no DICOM file in {}", folder.display());
    };
    if let Some(other) = headers.iter().find(|header| header.study != first.study) {
        bail!(
            "{} holds several studies ({}, {}); name the folder of one",
            folder.display(),
            first.study,
            other.study
        );
    }
    let rules = settings::site_rules(config)?;
    let study = first.study.to_string();
    Ok(Routed { study, explanation: None, models: pipeline::route_headers(&headers, packages, &rules) })
}

async fn of_study(text: &str, packages: &[Package], config: &Config) -> anyhow::Result<Vec<Routed>> {
    let Ok(uid) = Uid::parse(text) else {
        bail!("{text:?} is neither a folder nor a Study Instance UID");
    };
    let study = StudyUid::from(uid);
    let ledger = open_ledger(config).await?;
    let routed = explain(&ledger, &study, packages, config).await?;
    ledger.close().await;
    match routed {
        Some(routed) => Ok(vec![routed]),
        None => bail!("study {study} has not arrived here"),
    }
}

async fn of_last(count: u32, packages: &[Package], config: &Config) -> anyhow::Result<Vec<Routed>> {
    let ledger = open_ledger(config).await?;
    let studies = ledger.studies(&StudyFilter::default(), &PageRequest::first(count)).await?;
    let mut routed = Vec::new();
    for study in studies.rows {
        routed.extend(explain(&ledger, &study.study, packages, config).await?);
    }
    ledger.close().await;
    Ok(routed)
}

async fn explain(
    ledger: &ledger::Ledger,
    study: &StudyUid,
    packages: &[Package],
    config: &Config,
) -> anyhow::Result<Option<Routed>> {
    let rules = settings::site_rules(config)?;
    let explained =
        pipeline::explain_study(ledger, study, packages, &rules, settings::patience(config)).await?;
    Ok(explained.map(|mut explanation| {
        let models = std::mem::take(&mut explanation.models);
        Routed { study: study.to_string(), explanation: Some(explanation), models }
    }))
}

fn show(routed: &[Routed], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let json = serde_json::to_string_pretty(routed).context("cannot print the routing")?;
        terminal::line(&json);
        return Ok(());
    }
    for one in routed {
        terminal::line(&format!("study {}", one.study));
        for hold in one.explanation.iter().flat_map(|explanation| &explanation.holds) {
            terminal::line(&format!("  held: {}", hold.reason));
        }
        for model in &one.models {
            show_model(model);
        }
    }
    Ok(())
}

fn show_model(route: &ModelRoute) {
    let jobs = match route.jobs.len() {
        0 => "no job".to_owned(),
        1 => "1 job".to_owned(),
        count => format!("{count} jobs"),
    };
    terminal::line(&format!("  {} {}: {jobs}", route.model, route.version));
    for stack in route.jobs.iter().flatten() {
        terminal::line(&format!(
            "    takes series {}, {} slices, as {}",
            stack.series, stack.slices, stack.channel
        ));
    }
    for unchosen in &route.not_chosen {
        let because = &unchosen.because;
        terminal::line(&format!(
            "    not series {}: {} is {}, expected {}",
            unchosen.series, because.condition, because.seen, because.expected
        ));
    }
}
