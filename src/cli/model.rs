//! `overread model`: the packages, as the server sees them.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use inference::{Model, Package, Registry, Runtime};
use serde_json::{Value, json};

use super::{JsonFlag, Output, skeleton, terminal};
use crate::{config::Config, exit::Failure, service::settings};

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Lists the packages of models.dir, and why one is not in service.
    List(JsonFlag),
    /// Does with a package all that the server does before service, and prints its card.
    #[command(after_help = "Example:\n  overread model check models/mr-brain-seg")]
    Check(CheckArgs),
    /// Writes a package to start from, with a comment at every line.
    #[command(after_help = "\
Examples:
  overread model new models/my-model
  overread model new models/my-model --task classification --weights export/best.onnx
  overread model check --record models/my-model")]
    New(skeleton::NewArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The folder with model.toml.
    dir: PathBuf,
    /// First writes a self-test from what the model answers today, in place of one made elsewhere.
    #[arg(long)]
    record: bool,
    #[command(flatten)]
    json: JsonFlag,
}

pub(crate) fn run(command: ModelCommand, config: &Config) -> Result<(), Failure> {
    match command {
        ModelCommand::List(json) => Ok(list(config, json.output())?),
        ModelCommand::Check(args) => Ok(check(&args, config)?),
        ModelCommand::New(args) => Ok(skeleton::make(&args)?),
    }
}

pub(crate) fn open_runtime(config: &Config) -> anyhow::Result<Runtime> {
    Ok(Runtime::open(settings::onnxruntime(config).as_deref())?)
}

fn list(config: &Config, output: Output) -> anyhow::Result<()> {
    let runtime = open_runtime(config)?;
    let dir = &config.models.dir;
    let registry = Registry::load(dir, &runtime, settings::registry(config))
        .with_context(|| format!("cannot use models.dir {}", dir.display()))?;
    let active = registry.active();
    let refused = registry.refused();
    match output {
        Output::Json => {
            let models: Vec<Value> = active.iter().map(|model| facts(model.package())).collect();
            let refused: Vec<Value> = refused
                .iter()
                .map(|refused| json!({ "folder": refused.dir, "reason": refused.reason.to_string() }))
                .collect();
            terminal::line(&serde_json::to_string_pretty(
                &json!({ "models": models, "not_in_service": refused }),
            )?);
        }
        Output::Text => {
            let row = |package: &Package| {
                let use_for = if package.is_demonstration() { "demonstration" } else { "stated" };
                vec![
                    package.id.to_string(),
                    package.version.to_string(),
                    package.task.name().to_owned(),
                    use_for.to_owned(),
                ]
            };
            let rows: Vec<_> = active.iter().map(|model| row(model.package())).collect();
            terminal::print(&terminal::table(&["model", "version", "task", "use"], &rows));
            for refused in &refused {
                terminal::line(&format!("not in service: {}: {}", refused.dir.display(), refused.reason));
            }
        }
    }
    Ok(())
}

fn check(args: &CheckArgs, config: &Config) -> anyhow::Result<()> {
    // The description first: most mistakes are there, and no library is needed to find them.
    let package = Package::read(&args.dir)?;
    let runtime = open_runtime(config)?;
    let model = Model::open(&runtime, package, settings::device(config), settings::threads(config))?;
    if args.record {
        model.record_self_test().context("cannot record a self-test")?;
    }
    model.self_test().with_context(|| format!("{} fails its self-test", model.package().full_name()))?;
    match args.json.output() {
        Output::Json => {
            let mut facts = facts(model.package());
            facts["computed_by"] = model.computed_by().into();
            terminal::line(&serde_json::to_string_pretty(&facts)?);
        }
        Output::Text => card(&model),
    }
    Ok(())
}

fn facts(package: &Package) -> Value {
    json!({
        "id": package.id.to_string(),
        "version": package.version.to_string(),
        "name": package.name,
        "task": package.task.name(),
        "demonstration": package.is_demonstration(),
        "digest": package.digest,
        "folder": package.dir,
    })
}

fn card(model: &Model) {
    let package = model.package();
    let (inputs, outputs) = model.ports();
    let mut lines = vec![
        format!("{}  ({} {})", package.name, package.id, package.version),
        format!("  task      {}", package.task.name()),
        format!("  inputs    {}", inputs.join(", ")),
        format!("  outputs   {}", outputs.join(", ")),
        format!("  computed  by {}", model.computed_by()),
        format!("  digest    {}", package.digest),
    ];
    if package.is_demonstration() {
        lines.push("  use       DEMONSTRATION, NOT FOR CLINICAL USE".to_owned());
    }
    if !package.description.is_empty() {
        lines.push(format!("  {}", package.description));
    }
    lines.push("  ok: description, digests, graph and self-test".to_owned());
    terminal::line(&lines.join("\n"));
}
