//! `overread doctor`: a line for each thing that must be well, and what to do when it is not.

use std::{path::Path, sync::Arc, time::Duration};

use clap::Args;
use inference::{Registry, Runtime};
use ledger::{EventFilter, Ledger, Millis, PageRequest};
use pipeline::{PipelineConfig, PipelineHandle};
use serde::Serialize;

use super::{JsonFlag, Output, terminal};
use crate::{
    config::Config,
    exit::Failure,
    service::settings,
    store::{block_on, open_ledger},
};

/// How long all destinations together may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    json: JsonFlag,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    check: String,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    what_to_do: Option<String>,
}

impl Check {
    fn well(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), ok: true, found: found.into(), what_to_do: None }
    }

    fn ill(check: impl Into<String>, found: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Self { check: check.into(), ok: false, found: found.into(), what_to_do: Some(what_to_do.into()) }
    }
}

pub(crate) fn run(args: DoctorArgs, config: &Config) -> Result<(), Failure> {
    let checks = block_on(async { Ok(examine(config).await) })?;
    match args.json.output() {
        Output::Json => terminal::line(&serde_json::to_string_pretty(&checks).map_err(anyhow::Error::from)?),
        Output::Text => checks.iter().for_each(print),
    }
    match checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(()),
        ill => Err(Failure::sentence(format!("{ill} of {} checks failed", checks.len()))),
    }
}

fn print(check: &Check) {
    let mark = if check.ok { "ok  " } else { "FAIL" };
    terminal::line(&format!("{mark}  {:<24}  {}", check.check, check.found));
    if let Some(what_to_do) = &check.what_to_do {
        terminal::line(&format!("      {:<24}  → {what_to_do}", ""));
    }
}

async fn examine(config: &Config) -> Vec<Check> {
    let mut checks = vec![data_folder(config)];
    let ledger = open_ledger(config).await;
    checks.push(database(config, &ledger));
    checks.push(spool(config));
    checks.push(disk(config));
    checks.push(clock(ledger.as_ref().ok()).await);
    checks.extend(models(config));
    if let Ok(ledger) = &ledger {
        checks.extend(destinations(config, ledger).await);
        checks.extend(subscribers(config, ledger).await);
        ledger.close().await;
    }
    checks
}

fn data_folder(config: &Config) -> Check {
    let dir = &config.data_dir;
    match write_probe(dir) {
        Ok(()) => Check::well("data folder", dir.display().to_string()),
        Err(error) => Check::ill(
            "data folder",
            format!("{}: {error}", dir.display()),
            "give this user the right to write it, or set data_dir to another folder",
        ),
    }
}

/// Makes the folder when it is missing, and a file in it.
fn write_probe(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let probe = dir.join(format!(".doctor-{}", std::process::id()));
    std::fs::write(&probe, b"x")?;
    std::fs::remove_file(&probe)
}

fn database(config: &Config, ledger: &anyhow::Result<Ledger>) -> Check {
    let url = format!("{:?}", config.database.url);
    match ledger {
        Ok(_) => Check::well("database", url),
        Err(error) => Check::ill(
            "database",
            format!("{url}: {error:#}"),
            "see the sentence above; it says what to correct",
        ),
    }
}

fn spool(config: &Config) -> Check {
    // A running service holds the spool itself: here it is enough that it could be written.
    let dir = config.spool_dir();
    match write_probe(&dir).and_then(|()| write_probe(&config.quarantine_dir())) {
        Ok(()) => Check::well("spool", dir.display().to_string()),
        Err(error) => Check::ill(
            "spool",
            format!("{}: {error}", dir.display()),
            "give this user the right to write it, or set spool.url",
        ),
    }
}

fn disk(config: &Config) -> Check {
    let wanted = config.spool.min_free_bytes;
    match rustix::fs::statvfs(&config.data_dir) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{:.1} GB free", free as f64 / 1e9);
            if free >= wanted.0 {
                Check::well("disk", found)
            } else {
                Check::ill(
                    "disk",
                    format!("{found}, less than spool.min_free_bytes = {wanted}: nothing is accepted"),
                    "make room, or lower spool.min_free_bytes",
                )
            }
        }
        Err(error) => Check::ill("disk", error.to_string(), "see whether the disk of data_dir is mounted"),
    }
}

/// A clock that stands before what was already recorded would date results wrongly.
async fn clock(ledger: Option<&Ledger>) -> Check {
    let now = Millis::now();
    let newest = match ledger {
        // A database that does not answer has a line of its own.
        Some(ledger) => ledger.events(&EventFilter::default(), &PageRequest::first(1)).await.ok(),
        None => None,
    };
    let newest = newest.and_then(|page| page.rows.first().map(|event| event.at));
    let found =
        time::OffsetDateTime::now_utc().replace_nanosecond(0).map(|now| now.to_string()).unwrap_or_default();
    match newest {
        Some(newest) if newest > now => Check::ill(
            "clock",
            format!("{found}, {} s before the newest recorded event", newest.since(now).as_secs()),
            "set the clock (timedatectl); results carry its time",
        ),
        Some(_) | None => Check::well("clock", found),
    }
}

fn models(config: &Config) -> Vec<Check> {
    let runtime = match Runtime::open(settings::onnxruntime(config).as_deref()) {
        Ok(runtime) => runtime,
        Err(error) => {
            return vec![Check::ill(
                "ONNX Runtime",
                error.to_string(),
                "run `make runtime`, or set runtime.onnxruntime",
            )];
        }
    };
    let mut checks = vec![Check::well("ONNX Runtime", runtime.library().display().to_string())];
    match Registry::load(&config.models.dir, &runtime, settings::registry(config)) {
        Ok(registry) => {
            for model in registry.active() {
                let package = model.package();
                checks.push(Check::well(
                    format!("model {}", package.id),
                    format!("{} passed its self-test", package.full_name()),
                ));
            }
            for held_back in registry.held_back() {
                let found = "a demonstration that models.allow_demonstration does not name: not in service";
                checks.push(Check::well(format!("model {}", held_back.id), found));
            }
            for refused in registry.refused() {
                let name =
                    refused.dir.file_name().unwrap_or(refused.dir.as_os_str()).to_string_lossy().into_owned();
                checks.push(Check::ill(
                    format!("model {name}"),
                    refused.reason.to_string(),
                    format!("overread model check {}", refused.dir.display()),
                ));
            }
        }
        Err(error) => checks.push(Check::ill(
            "models",
            error.to_string(),
            "set models.dir to a folder of model packages",
        )),
    }
    checks
}

/// Asks each subscriber whether somebody answers there; nothing is told.
async fn subscribers(config: &Config, ledger: &Ledger) -> Vec<Check> {
    let ill = |check: &str, found: String| {
        Check::ill(check, found, "correct the settings in [[notify]], and see whether it is up")
    };
    if config.subscribers.is_empty() {
        return Vec::new();
    }
    let mut asking = nobody();
    asking.subscribers = match settings::subscribers(config) {
        Ok(subscribers) => subscribers,
        Err(error) => return vec![ill("notify", format!("{error:#}"))],
    };
    let asked = async {
        PipelineHandle::detached(asking, ledger, Arc::new(Registry::empty()))?.check_subscribers().await
    };
    let answers = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => return vec![ill("notify", error.to_string())],
        Err(_) => return vec![ill("notify", format!("no answer within {} s", PATIENCE.as_secs()))],
    };
    let check = |(name, answer): (String, Result<(), String>)| match answer {
        Ok(()) => Check::well(format!("notify {name}"), "answers"),
        Err(reason) => ill(&format!("notify {name}"), reason),
    };
    answers.into_iter().map(check).collect()
}

/// A pipeline that only asks.
fn nobody() -> PipelineConfig {
    let (node, boot) = (ledger::NodeId::new("doctor"), ledger::BootId::new("doctor"));
    PipelineConfig::new(uuid::Uuid::nil(), node, boot)
}

/// Asks each destination whether it answers as it is configured; nothing is sent.
async fn destinations(config: &Config, ledger: &Ledger) -> Vec<Check> {
    let mut asking = nobody();
    let settings = config.destinations.iter().map(|one| settings::destination(one, config));
    asking.destinations = match settings.collect::<anyhow::Result<_>>() {
        Ok(destinations) => destinations,
        Err(error) => {
            return vec![Check::ill(
                "destinations",
                format!("{error:#}"),
                "correct the settings of that destination",
            )];
        }
    };
    let asking = match PipelineHandle::detached(asking, ledger, Arc::new(Registry::empty())) {
        Ok(handle) => handle,
        Err(error) => {
            return vec![Check::ill(
                "destinations",
                error.to_string(),
                "correct the settings of that destination",
            )];
        }
    };
    let Ok(answers) = tokio::time::timeout(PATIENCE, asking.check_destinations()).await else {
        return vec![Check::ill(
            "destinations",
            format!("no answer within {} s", PATIENCE.as_secs()),
            "see whether they are up",
        )];
    };
    let check = |(name, answer): (String, Result<(), String>)| match answer {
        Ok(()) => Check::well(format!("destination {name}"), "answers"),
        Err(reason) => Check::ill(
            format!("destination {name}"),
            reason,
            "see whether it is up, and correct its address, user and password in [[destination]]",
        ),
    };
    answers.into_iter().map(check).collect()
}
