//! How the first administrator gets in: an account that nobody has a password of, and a login that works once.
//! There is no default password.

use std::{io::IsTerminal, time::Duration};

use anyhow::Context;
use api::{Password, Secret, hash_password, issue_only_one_time};
use ledger::{Account, AccountId, AuditKey, Ledger, Millis, NewAccount, NewAudit, Role};
use serde_json::json;
use tracing::warn;

use crate::{
    cli::terminal,
    config::{Log, LogFormat},
    data_dir::DataDir,
};

const ACCOUNT: &str = "admin";
const BY: &str = "overread";
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the login is shown: never where log lines are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Terminal,
    File,
}

impl Shown {
    /// Log lines go to standard error, which is a person's only when it is a terminal.
    pub(crate) fn by(log: &Log) -> Self {
        let is_kept = log.format == LogFormat::Json || !std::io::stderr().is_terminal();
        if is_kept { Self::File } else { Self::Terminal }
    }
}

/// Offers a login to the first administrator, as long as nobody has signed in; the one that an earlier start
/// offered is good for nothing then.
///
/// # Errors
/// When the ledger or the folder fails.
pub(crate) async fn offer(ledger: &Ledger, data_dir: &DataDir, shown: Shown) -> anyhow::Result<()> {
    let key = AuditKey::new(data_dir.key("audit")?);
    let Some(account) = awaiting(ledger, &key).await? else { return data_dir.hide_first_login() };
    let login = issue_only_one_time(ledger, (account, LIFETIME), &key, row("user.one-time")).await?;
    match shown {
        Shown::Terminal => {
            data_dir.hide_first_login()?;
            terminal::note(&format!(
                "Nobody has signed in yet. A login of the account {ACCOUNT}, good once and for a day:\n{}",
                login.expose()
            ));
        }
        Shown::File => {
            let file = data_dir.show_first_login(&format!("{}\n", login.expose()))?;
            let file = file.display();
            warn!(%file, "nobody has signed in yet; a login of the account {ACCOUNT}, good once and for a day, is in {file}");
        }
    }
    Ok(())
}

/// The account that waits for its first sign-in; made where there is none at all.
async fn awaiting(ledger: &Ledger, key: &AuditKey) -> anyhow::Result<Option<AccountId>> {
    let accounts = ledger.accounts().await?;
    if accounts.is_empty() {
        return add(ledger, key).await;
    }
    let awaits = |account: &Account| {
        !account.has_password && account.signed_in_at.is_none() && account.disabled_at.is_none()
    };
    let nobody_came = accounts.iter().all(|account| account.signed_in_at.is_none());
    Ok(accounts.into_iter().find(awaits).filter(|_| nobody_came).map(|account| account.id))
}

async fn add(ledger: &Ledger, key: &AuditKey) -> anyhow::Result<Option<AccountId>> {
    let hashed = tokio::task::spawn_blocking(|| {
        let nobody_knows = Secret::generate().context("the system gives no random numbers")?;
        Ok::<_, anyhow::Error>(hash_password(&Password::new(nobody_knows.expose()))?)
    });
    let new = NewAccount {
        name: ACCOUNT.to_owned(),
        role: Role::Admin,
        full_name: String::new(),
        organization: String::new(),
        password_hash: hashed.await.context("hashing a password ended badly")??,
    };
    let add = async |ledger: Ledger| ledger.add_first_account(&new, BY, Millis::now()).await;
    Ok(ledger.noted(key, vec![row("user.add")], add).await?.outcome)
}

fn row(action: &str) -> NewAudit {
    NewAudit {
        at: Millis::now(),
        actor: BY.to_owned(),
        action: action.to_owned(),
        subject: ACCOUNT.to_owned(),
        request_id: None,
        detail: json!({}),
    }
}
