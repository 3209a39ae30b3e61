//! `overread audit`: who saw or did what, and whether anybody has changed the record of it.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use ledger::{AuditFilter, AuditKey, AuditRow, Ledger, PageRequest};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{JsonFlag, Output, terminal};
use crate::{
    anchors::Anchors,
    config::Config,
    data_dir::DataDir,
    exit::Failure,
    store::{add_left_calls, block_on, open_ledger},
};

/// Rows that are read at a time.
const PAGE_ROWS: u32 = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Checks every row against the key and against the ends that were noted outside the database.
    #[command(after_help = "\
Examples:
  overread audit verify
  overread audit verify --anchor 4711:5e1f…     also against an end that was noted elsewhere

The key is data_dir/audit.key; ends are noted in data_dir/audit-anchors and in the log.")]
    Verify(VerifyArgs),
    /// Prints rows, the newest first.
    #[command(after_help = "Example:\n  overread audit list --action auth. --limit 20")]
    List(ListArgs),
    /// Prints all rows as JSON, one a line, the newest first.
    #[command(after_help = "Example:\n  overread audit export --actor account:kim > kim.jsonl")]
    Export(FilterArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// An end of the trail as it was noted elsewhere, ROW:MAC; may be given several times.
    #[arg(long, value_name = "ROW:MAC", value_parser = parse_anchor)]
    anchor: Vec<(i64, String)>,
    #[command(flatten)]
    json: JsonFlag,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many rows.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    json: JsonFlag,
}

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Who, such as account:kim or key:gateway.
    #[arg(long)]
    actor: Option<String>,
    /// What, such as result.accept; with a dot at the end a whole family, such as auth.
    #[arg(long)]
    action: Option<String>,
    /// To what, such as a Study Instance UID.
    #[arg(long)]
    subject: Option<String>,
}

impl FilterArgs {
    fn filter(self) -> AuditFilter {
        let Self { actor, action, subject } = self;
        AuditFilter { actor, action, subject, ..AuditFilter::default() }
    }
}

pub(crate) fn run(command: AuditCommand, config: &Config) -> Result<(), Failure> {
    Ok(block_on(async {
        let ledger = open_ledger(config).await?;
        add_left_calls(&ledger, config).await?;
        let done = match command {
            AuditCommand::Verify(args) => verify(&ledger, config, args).await,
            AuditCommand::List(args) => list(&ledger, args).await,
            AuditCommand::Export(args) => export(&ledger, args.filter()).await,
        };
        ledger.close().await;
        done
    })?)
}

fn parse_anchor(text: &str) -> Result<(i64, String), String> {
    let parsed = text.split_once(':').and_then(|(seq, mac)| Some((seq.parse().ok()?, mac.to_owned())));
    parsed.ok_or_else(|| "expected ROW:MAC, as the log has them".to_owned())
}

async fn verify(ledger: &Ledger, config: &Config, args: VerifyArgs) -> anyhow::Result<()> {
    let key = AuditKey::new(DataDir::open(&config.data_dir)?.key("audit")?);
    let mut anchors = Anchors::of(&config.data_dir).read()?;
    anchors.extend(args.anchor.into_iter().map(|(seq, mac)| ledger::AuditHead { seq, mac }));
    let verdict = ledger.verify_audit(&key, &anchors).await.context("cannot read the audit trail")?;
    if args.json.output() == Output::Json {
        let problem = verdict.as_ref().err().map(ToString::to_string);
        let said = json!({ "rows": verdict.ok(), "anchors": anchors.len(), "problem": problem });
        terminal::line(&said.to_string());
    }
    match verdict {
        Ok(rows) if args.json.output() == Output::Text => {
            terminal::line(&format!("{rows} rows are whole, and fit {} anchors", anchors.len()));
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(problem) => bail!("{problem}"),
    }
}

async fn list(ledger: &Ledger, args: ListArgs) -> anyhow::Result<()> {
    let page = ledger.audit(&args.filter.filter(), &PageRequest::first(args.limit)).await?;
    match args.json.output() {
        Output::Json => {
            let rows: Vec<Value> = page.rows.iter().map(value).collect();
            terminal::line(&serde_json::to_string_pretty(&rows)?);
        }
        Output::Text => {
            let cells = |row: &AuditRow| {
                let (actor, action, subject) = (row.actor.clone(), row.action.clone(), row.subject.clone());
                vec![row.seq.to_string(), moment(row), actor, action, subject]
            };
            let rows: Vec<_> = page.rows.iter().map(cells).collect();
            terminal::print(&terminal::table(&["row", "when", "who", "what", "to what"], &rows));
        }
    }
    Ok(())
}

async fn export(ledger: &Ledger, filter: AuditFilter) -> anyhow::Result<()> {
    let mut request = PageRequest::first(PAGE_ROWS);
    loop {
        let page = ledger.audit(&filter, &request).await?;
        for row in &page.rows {
            terminal::line(&value(row).to_string());
        }
        let Some(next) = page.next else { return Ok(()) };
        request = PageRequest::after(PAGE_ROWS, &next).context("the database gave no usable place")?;
    }
}

fn value(row: &AuditRow) -> Value {
    json!({
        "seq": row.seq, "at": moment(row), "actor": row.actor, "action": row.action, "subject": row.subject,
        "request_id": row.request_id, "detail": row.detail, "mac": row.mac,
    })
}

fn moment(row: &AuditRow) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(row.at.0) * 1_000_000).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| row.at.to_string())
}
