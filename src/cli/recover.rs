//! `overread recover`: rows for everything that the spool holds.

use anyhow::Context;
use clap::Args;
use ledger::{BootId, NodeId};
use scp::{Reconciled, RecoveryEvent};
use serde_json::json;
use uuid::Uuid;

use super::{JsonFlag, Output, terminal};
use crate::{
    config::Config,
    data_dir::DataDir,
    exit::Failure,
    service::{node_name, open_spool},
    store::{block_on, open_ledger},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Use it when the database was lost, or was restored from a backup that is older than the spool: every
instance in the spool gets its row again, and its study is looked at afresh. What is known already stays
as it is, so it may be repeated. Stop the service first. After a crash it is not needed: the next start
brings spool and database together by itself.

Models run again on recovered studies; their results get the same UIDs as before, so that a PACS does
not hold them twice. Accounts, keys, reviews and the audit trail are in the database alone: only a
backup brings them back.

Examples:
  overread recover
  overread --config /etc/overread.toml recover --json")]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    json: JsonFlag,
}

/// What there is to say at the end.
struct Report {
    done: Reconciled,
    /// One line for each file that was passed over.
    passed_over: Vec<String>,
}

pub(crate) fn run(args: RecoverArgs, config: &Config) -> Result<(), Failure> {
    let report = block_on(recover(config))?;
    match args.json.output() {
        Output::Text => {
            for line in &report.passed_over {
                terminal::line(&format!("passed over: {line}"));
            }
            terminal::line(&format!("{} instances of the spool have their rows", report.done.instances));
        }
        Output::Json => terminal::line(
            &json!({ "instances": report.done.instances, "passed_over": report.passed_over }).to_string(),
        ),
    }
    match report.done.unreadable {
        0 => Ok(()),
        unreadable => {
            Err(Failure::sentence(format!("{unreadable} files of the spool are no readable instances")))
        }
    }
}

async fn recover(config: &Config) -> anyhow::Result<Report> {
    let data_dir = DataDir::open(&config.data_dir)?;
    let _lock = data_dir.lock()?;
    let ledger = open_ledger(config).await?;
    data_dir.installation(&ledger).await?;
    let spool = open_spool(config).await?;
    let (node, boot) = (NodeId::new(node_name(&config.data_dir)), BootId::new(Uuid::now_v7().to_string()));
    scp::reconcile(&spool, &ledger, &node, &boot)
        .await
        .context("cannot bring spool and database together")?;
    let bar = terminal::spinner("recovering");
    let mut passed_over = Vec::new();
    let recovered = scp::recover(&spool, &ledger, &node, &boot, |event| match event {
        RecoveryEvent::Recorded(done) => bar.set_position(done.instances),
        RecoveryEvent::PassedOver(error) => passed_over.push(format!("{:#}", anyhow::Error::new(error))),
    });
    let done = recovered.await.context("cannot recover the rows")?;
    bar.finish_and_clear();
    ledger.close().await;
    Ok(Report { done, passed_over })
}
