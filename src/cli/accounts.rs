//! `overread user` and `overread key`: who may sign in, and which programs may call.

use std::{io::Read, time::Duration};

use anyhow::{Context, bail};
use api::{Password, Secret, hash_password};
use clap::{Args, Subcommand, ValueEnum};
use ledger::{Account, ApiKey, ApiKeyId, AuditKey, Ledger, Millis, NewAccount, NewApiKey, NewAudit};
use serde_json::json;

use super::{JsonFlag, Output, terminal};
use crate::{
    config::Config,
    data_dir::DataDir,
    exit::Failure,
    store::{actor, add_left_calls, block_on, open_ledger},
};

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Adds an account.
    #[command(
        after_help = "Examples:\n  overread user add dr.kim --role doctor --full-name 'Kim^Minji' --organization 'Radiology, City Hospital'\n  \
                            overread user add dr.kim --role doctor --password-stdin < password.txt"
    )]
    Add(AddUser),
    /// Lists the accounts.
    List(JsonFlag),
    /// Closes an account; what it did stays recorded.
    Disable { name: String },
    /// Opens a closed account again.
    Enable { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct AddUser {
    /// Sign-in name.
    name: String,
    #[arg(long, value_enum)]
    role: UserRole,
    /// Reads the password from standard input. Without it one is made and printed on the last line.
    #[arg(long)]
    password_stdin: bool,
    /// The person's name, as it stands under verified reports (`Family^Given`).
    #[arg(long, default_value = "")]
    full_name: String,
    /// Whom the person works for, as it stands under verified reports.
    #[arg(long, default_value = "")]
    organization: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UserRole {
    Admin,
    Doctor,
    Technician,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key; it is printed once, alone on the last line.
    #[command(
        after_help = "Example:\n  KEY=$(overread key create --name gateway --role service | tail -n 1)"
    )]
    Create(CreateKey),
    /// Lists the keys, without the secrets.
    List(JsonFlag),
    /// Ends a key at once.
    Revoke {
        /// As `overread key list` shows it.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateKey {
    /// What the key is for.
    #[arg(long)]
    name: String,
    #[arg(long, value_enum)]
    role: KeyRole,
    /// Days until it ends; without it the key stays valid until it is revoked.
    #[arg(long, value_name = "DAYS")]
    expires_in: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyRole {
    Admin,
    Doctor,
    Technician,
    Service,
    Worker,
}

pub(crate) fn user(command: UserCommand, config: &Config) -> Result<(), Failure> {
    with_ledger(config, async |ledger| match command {
        UserCommand::Add(args) => add_user(&ledger, config, args).await,
        UserCommand::List(json) => list_users(&ledger, json.output()).await,
        UserCommand::Disable { name } => {
            let disabled = noted(&ledger, config, "user.disable", &name, async |ledger| {
                ledger.disable_account(&name, &actor(), Millis::now()).await
            });
            found(disabled.await?, &format!("open account {name:?}"))
        }
        UserCommand::Enable { name } => {
            let enabled = noted(&ledger, config, "user.enable", &name, async |ledger| {
                ledger.enable_account(&name, &actor(), Millis::now()).await
            });
            found(enabled.await?, &format!("closed account {name:?}"))
        }
    })
}

pub(crate) fn key(command: KeyCommand, config: &Config) -> Result<(), Failure> {
    with_ledger(config, async |ledger| match command {
        KeyCommand::Create(args) => create_key(&ledger, config, args).await,
        KeyCommand::List(json) => list_keys(&ledger, json.output()).await,
        KeyCommand::Revoke { id } => {
            let parsed: ApiKeyId =
                id.parse().ok().with_context(|| format!("{id:?} is no key id; see `overread key list`"))?;
            let revoked = noted(&ledger, config, "key.revoke", &id, async |ledger| {
                ledger.revoke_api_key(parsed, &actor(), Millis::now()).await
            });
            found(revoked.await?, &format!("valid key {id}"))
        }
    })
}

fn with_ledger(config: &Config, work: impl AsyncFnOnce(Ledger) -> anyhow::Result<()>) -> Result<(), Failure> {
    Ok(block_on(async {
        // The database's folder may not be there yet when a site is set up.
        DataDir::open(&config.data_dir)?;
        let ledger = open_ledger(config).await?;
        let done = work(ledger.clone()).await;
        ledger.close().await;
        done
    })?)
}

/// Carries out a deed together with its row of the audit trail; one that changes nothing is not noted.
async fn noted<T>(
    ledger: &Ledger,
    config: &Config,
    action: &str,
    subject: &str,
    deed: impl AsyncFnOnce(Ledger) -> Result<T, ledger::Error>,
) -> anyhow::Result<T> {
    add_left_calls(ledger, config).await?;
    let key = AuditKey::new(DataDir::open(&config.data_dir)?.key("audit")?);
    let row = NewAudit {
        at: Millis::now(),
        actor: actor(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        request_id: None,
        detail: json!({}),
    };
    Ok(ledger.noted(&key, vec![row], deed).await?.outcome)
}

fn found(changed: bool, what: &str) -> anyhow::Result<()> {
    if changed { Ok(()) } else { bail!("there is no {what}") }
}

async fn add_user(ledger: &Ledger, config: &Config, args: AddUser) -> anyhow::Result<()> {
    if ledger.account_by_name(&args.name).await?.is_some() {
        bail!("there is an account {:?} already", args.name);
    }
    let made = if args.password_stdin {
        None
    } else {
        Some(Secret::generate().context("the system gives no random numbers")?)
    };
    let password = match &made {
        Some(secret) => Password::new(secret.expose()),
        None => read_password()?,
    };
    let new = NewAccount {
        name: args.name,
        role: match args.role {
            UserRole::Admin => ledger::Role::Admin,
            UserRole::Doctor => ledger::Role::Doctor,
            UserRole::Technician => ledger::Role::Technician,
        },
        full_name: args.full_name,
        organization: args.organization,
        password_hash: hash_password(&password)?,
    };
    let add = async |ledger: Ledger| ledger.add_account(&new, &actor(), Millis::now()).await;
    noted(ledger, config, "user.add", &new.name, add).await?;
    terminal::line(&format!("added {} ({})", new.name, new.role));
    if let Some(secret) = made {
        terminal::line("its password, shown this once:");
        terminal::line(secret.expose());
    }
    Ok(())
}

fn read_password() -> anyhow::Result<Password> {
    // More than any password: a wrong file on standard input is not read to its end.
    const BYTES_MAX: u64 = 4096;
    let mut text = String::new();
    std::io::stdin()
        .take(BYTES_MAX)
        .read_to_string(&mut text)
        .context("cannot read the password from standard input")?;
    Ok(Password::new(text.trim_end_matches(['\r', '\n'])))
}

async fn list_users(ledger: &Ledger, output: Output) -> anyhow::Result<()> {
    let accounts = ledger.accounts().await?;
    let state = |account: &Account| if account.disabled_at.is_some() { "closed" } else { "open" };
    match output {
        Output::Json => {
            let list: Vec<_> = accounts
                .iter()
                .map(|account| {
                    json!({
                        "name": account.name, "role": account.role, "full_name": account.full_name,
                        "organization": account.organization, "state": state(account),
                    })
                })
                .collect();
            terminal::line(&serde_json::to_string_pretty(&list)?);
        }
        Output::Text => {
            let rows: Vec<_> = accounts
                .iter()
                .map(|account| {
                    vec![
                        account.name.clone(),
                        account.role.to_string(),
                        account.full_name.clone(),
                        state(account).to_owned(),
                    ]
                })
                .collect();
            terminal::print(&terminal::table(&["name", "role", "full name", "state"], &rows));
        }
    }
    Ok(())
}

async fn create_key(ledger: &Ledger, config: &Config, args: CreateKey) -> anyhow::Result<()> {
    let secret = Secret::generate().context("the system gives no random numbers")?;
    let now = Millis::now();
    let day = Duration::from_secs(24 * 60 * 60);
    let new = NewApiKey {
        name: args.name,
        role: match args.role {
            KeyRole::Admin => ledger::Role::Admin,
            KeyRole::Doctor => ledger::Role::Doctor,
            KeyRole::Technician => ledger::Role::Technician,
            KeyRole::Service => ledger::Role::Service,
            KeyRole::Worker => ledger::Role::Worker,
        },
        scopes: Vec::new(),
        hash: secret.digest(),
        expires_at: args.expires_in.map(|days| now.plus(day * days)),
    };
    // The key that is made is its subject.
    let add = async |ledger: Ledger| ledger.add_api_key(&new, &actor(), now).await;
    let id = noted(ledger, config, "key.add", "", add).await?;
    terminal::line(&format!("key {id} for {:?} ({}), shown this once:", new.name, new.role));
    terminal::line(secret.expose());
    Ok(())
}

async fn list_keys(ledger: &Ledger, output: Output) -> anyhow::Result<()> {
    let keys = ledger.api_keys().await?;
    let now = Millis::now();
    let state = |key: &ApiKey| match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end <= now => "expired",
        (None, _) => "valid",
    };
    match output {
        Output::Json => {
            let list: Vec<_> = keys
                .iter()
                .map(|key| json!({ "id": key.id.to_string(), "name": key.name, "role": key.role, "state": state(key) }))
                .collect();
            terminal::line(&serde_json::to_string_pretty(&list)?);
        }
        Output::Text => {
            let rows: Vec<_> = keys
                .iter()
                .map(|key| {
                    vec![key.id.to_string(), key.name.clone(), key.role.to_string(), state(key).to_owned()]
                })
                .collect();
            terminal::print(&terminal::table(&["id", "name", "role", "state"], &rows));
        }
    }
    Ok(())
}
