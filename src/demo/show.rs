//! The demonstration itself: a service, a study, and a client of the public API that looks on.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use ledger::{Millis, NewAccount};
use scp::{ClientOptions, SendEvent, SendOptions};
use serde_json::Value;

use super::{DemoArgs, Pacs, client::Client, orthanc, orthanc::Orthanc, phantom::WrittenStudy, write_study};
use crate::{
    cli::{Output, terminal},
    config::{self, Config, ConfigFile, Overrides},
    exit::Failure,
    logging,
    serve::StopSignal,
    service::{Service, settings::ae_title},
    store::{block_on_all_cores, local_offset},
};

const MODEL: &str = "mr-brain-seg";
const ACCOUNT: &str = "demo";
const LOGIN_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Far more than the model takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_millis(200);

const BANNER: &str = "\
Overread demonstration. NOT A MEDICAL DEVICE: the study is synthetic, and so is what the model learnt from.
";

pub(super) fn run(args: &DemoArgs, overrides: Overrides) -> Result<(), Failure> {
    let utc_offset = local_offset();
    args.say(BANNER);
    let orthanc = match args.pacs {
        Some(Pacs::Orthanc) => Some(Orthanc::start(&args.dir.join("orthanc"))?),
        None => None,
    };
    let config = configuration(args, overrides, orthanc.as_ref())?;
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    logging::start_in_file(&config.log, &args.dir.join("overread.log"))?;
    Ok(block_on_all_cores(async {
        let mut stop = StopSignal::listen()?;
        let service = Service::start(config, utc_offset, None).await?;
        let shown = tokio::select! {
            shown = show(args, &service, orthanc.as_ref()) => shown,
            () = stop.received() => Ok(()),
        };
        if shown.is_ok() && !args.once {
            args.say("\nIt goes on serving; Ctrl-C ends it.");
            stop.received().await;
        }
        service.stop().await?;
        shown
    })?)
}

/// Defaults, a folder of its own, the demonstration model by name, results to a folder and the PACS.
fn configuration(
    args: &DemoArgs,
    overrides: Overrides,
    orthanc: Option<&Orthanc>,
) -> Result<Config, Failure> {
    let file = match overrides.file {
        ConfigFile::Named(file) => ConfigFile::Named(file),
        // The settings of a real site are not for a demonstration.
        ConfigFile::InWorkingFolder | ConfigFile::Nothing => ConfigFile::Nothing,
    };
    let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
    let mut destinations =
        vec![format!("{{kind=\"folder\",name=\"results\",path={}}}", quoted(&results_dir(args)))];
    if let Some(orthanc) = orthanc {
        destinations.push(format!("{{kind=\"orthanc\",name=\"orthanc\",url=\"{}\"}}", orthanc.url()));
    }
    let ours = [
        ("data_dir", quoted(&args.dir)),
        ("http.listen", format!("\"{}\"", address(8080)?)),
        ("dicom.listen", format!("\"{}\"", address(11112)?)),
        ("models.allow_demonstration", format!("[\"{MODEL}\"]")),
        ("readiness.quiet_seconds", "1".to_owned()),
        ("limits.requests_per_minute", "6000".to_owned()),
        // One study of a few megabytes comes in.
        ("spool.journal_bytes", "\"64MiB\"".to_owned()),
        ("destination", format!("[{}]", destinations.join(","))),
    ];
    let mut set: Vec<_> = ours.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    set.extend(overrides.set);
    config::load(&Overrides { file, set }).map_err(Failure::configuration)
}

fn results_dir(args: &DemoArgs) -> PathBuf {
    args.dir.join("results")
}

/// The usual port, or any other when somebody has it.
fn address(port: u16) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", port)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    listener.and_then(|listener| listener.local_addr()).context("no free port on loopback")
}

async fn show(args: &DemoArgs, service: &Service, orthanc: Option<&Orthanc>) -> anyhow::Result<()> {
    let http = service.http_address().context("a demonstration needs the role api")?;
    let dicom = service.dicom_address().context("a demonstration needs the role scp")?;
    args.say(&format!("  HTTP    http://{http}\n  DICOM   OVERREAD at {dicom}"));
    if let Some(orthanc) = orthanc {
        args.say(&format!("  PACS    {} (Orthanc, DICOM port {})", orthanc.url(), orthanc.dicom_port()));
    }
    let dir = args.dir.join("study");
    let (study, truth) = (args.study.clone(), dir.clone());
    let written = tokio::task::spawn_blocking(move || write_study::write(&study, &truth)).await??;
    args.say(&format!(
        "  study   {} slices of a synthetic brain MR, in {}\n",
        written.files.len(),
        dir.display()
    ));

    if let Some(orthanc) = orthanc {
        let pacs = format!("127.0.0.1:{}", orthanc.dicom_port());
        send(args, &written, &pacs, orthanc::AE_TITLE, "to Orthanc").await?;
    }
    send(args, &written, &dicom.to_string(), "OVERREAD", "to us").await?;

    let client = Client::sign_in(http, &one_time_login(service).await?).await?;
    let study_uid = written.study.to_string();
    let results = wait_for_results(&client, &study_uid).await?;
    for result in &results {
        let detail =
            client.get(&format!("/v1/results/{}", result["id"].as_str().unwrap_or_default())).await?;
        args.say(&format!("\n{} {}", text(&detail["model_id"]), text(&detail["model_version"])));
        args.say(crate::findings::table(&detail["findings"]).trim_end());
        artifacts(args, &detail, orthanc);
    }
    truth_of(args, &written);
    args.say(&format!(
        "\nTry the API: http://{http}/docs\nOne-time login, good for an hour: {}",
        one_time_login(service).await?
    ));
    if args.json.output() == Output::Json {
        terminal::line(&serde_json::to_string(&results)?);
    }
    Ok(())
}

async fn send(
    args: &DemoArgs,
    study: &WrittenStudy,
    address: &str,
    called: &str,
    what: &str,
) -> anyhow::Result<()> {
    let peer = ClientOptions::new(address, ae_title(called)?, ae_title("DEMO")?);
    let (files, bar) = (study.files.clone(), terminal::bar(study.files.len() as u64, what));
    let moving = bar.clone();
    let sent = tokio::task::spawn_blocking(move || {
        scp::send(files, &SendOptions::new(peer), &|event| {
            if !matches!(event, SendEvent::Postponed { .. }) {
                moving.inc(1);
            }
        })
    });
    let report = sent.await.context("sending ended badly")?;
    bar.finish();
    match report.failed.into_iter().next() {
        None => {
            args.say(&format!("  sent    {} instances {what} by C-STORE", report.stored));
            Ok(())
        }
        Some((path, reason)) => {
            Err(anyhow::Error::new(reason).context(format!("cannot send {} {what}", path.display())))
        }
    }
}

/// Follows the study until all results have arrived at all destinations.
async fn wait_for_results(client: &Client, study: &str) -> anyhow::Result<Vec<Value>> {
    let bar = terminal::bar(1000, "reading");
    let waiting = async {
        loop {
            if let Some(results) = look(client, study, &bar).await? {
                return anyhow::Ok(results);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let results = tokio::time::timeout(PATIENCE, waiting).await;
    bar.finish_and_clear();
    results.with_context(|| format!("no findings within {} s; see overread.log", PATIENCE.as_secs()))?
}

async fn look(client: &Client, study: &str, bar: &ProgressBar) -> anyhow::Result<Option<Vec<Value>>> {
    let jobs = client.items(&format!("/v1/jobs?study={study}")).await?;
    if let Some(dead) = jobs.iter().find(|job| job["state"] == "dead") {
        bail!("the job failed: {}", text(&dead["failure"]["reason"]));
    }
    let progress = jobs.iter().filter_map(|job| job["progress"].as_f64()).fold(0.0, f64::max);
    bar.set_position((progress * 1000.0) as u64);
    if jobs.is_empty() || jobs.iter().any(|job| job["state"] != "done") {
        return Ok(None);
    }
    let deliveries = client.items(&format!("/v1/deliveries?study={study}")).await?;
    if let Some(parked) = deliveries.iter().find(|delivery| delivery["state"] == "parked") {
        bail!("a result was refused by {}: {}", text(&parked["destination"]), text(&parked["failure"]));
    }
    if deliveries.is_empty() || deliveries.iter().any(|delivery| delivery["state"] != "proved") {
        return Ok(None);
    }
    Ok(Some(client.items(&format!("/v1/results?study={study}")).await?))
}

fn artifacts(args: &DemoArgs, result: &Value, orthanc: Option<&Orthanc>) {
    args.say("");
    for artifact in result["artifacts"].as_array().into_iter().flatten() {
        let role = text(&artifact["role"]).to_uppercase();
        let file = results_dir(args)
            .join(text(&artifact["study_uid"]))
            .join(format!("{}.dcm", text(&artifact["sop_instance_uid"])));
        args.say(&format!("  {role:<4} {}", file.display()));
    }
    if let Some(orthanc) = orthanc {
        args.say(&format!("  and in the study in Orthanc: {}/app/explorer.html", orthanc.url()));
    }
}

/// What the generator put there, so that everybody can judge the model.
fn truth_of(args: &DemoArgs, written: &WrittenStudy) {
    for lesion in &written.lesions {
        let [x, y, z] = lesion.core_centre_lps;
        args.say(&format!(
            "  truth: a lesion at {x:.0}, {y:.0}, {z:.0} with a core of {:.1} ml and oedema of {:.1} ml",
            lesion.core_ml, lesion.oedema_ml
        ));
    }
}

/// A login for the demonstration's account, which is made on the first run and has no password
/// that anybody knows.
async fn one_time_login(service: &Service) -> anyhow::Result<String> {
    let now = Millis::now();
    let account = match service.ledger.account_by_name(ACCOUNT).await? {
        Some(account) => account.id,
        None => {
            let nobody_knows = api::Secret::generate().context("the system gives no random numbers")?;
            let new = NewAccount {
                name: ACCOUNT.to_owned(),
                role: ledger::Role::Admin,
                full_name: "Demonstration".to_owned(),
                organization: String::new(),
                password_hash: api::hash_password(&api::Password::new(nobody_knows.expose()))?,
            };
            service.ledger.add_account(&new, "overread demo", now).await?
        }
    };
    let login = api::issue_one_time(&service.ledger, account, LOGIN_LIFETIME, now).await?;
    Ok(login.expose().to_owned())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
