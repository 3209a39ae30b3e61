//! A login that works once: how the first administrator and the demo get in, with no
//! default password anywhere.

use std::time::Duration;

use ledger::{AccountId, AuditKey, Ledger, Millis, NewAudit, NewSession, SessionKind};

use super::key::Secret;

/// Why no one-time login could be made.
#[derive(Debug, thiserror::Error)]
pub enum OneTimeError {
    #[error("the machine gives no random bytes")]
    Random(#[source] rand::rand_core::OsError),
    #[error("there is no such account")]
    NoAccount,
    #[error("cannot keep the one-time login")]
    Ledger(#[source] ledger::Error),
}

/// Makes a one-time login for `account`; its text is shown to a person and kept nowhere.
///
/// # Errors
/// The machine gives no random bytes, or the ledger does not keep it.
pub async fn issue_one_time(
    ledger: &Ledger,
    account: AccountId,
    lifetime: Duration,
    now: Millis,
) -> Result<Secret, OneTimeError> {
    let (secret, session) = new_one_time(ledger, account, lifetime, now).await?;
    ledger.add_session(&session, now).await.map_err(OneTimeError::Ledger)?;
    Ok(secret)
}

/// The only sign-in of an account: a one-time login that was made before, or used, is good for nothing. With its row
/// of the audit trail.
///
/// # Errors
/// The machine gives no random bytes, or the ledger does not keep it.
pub async fn issue_only_one_time(
    ledger: &Ledger,
    (account, lifetime): (AccountId, Duration),
    key: &AuditKey,
    row: NewAudit,
) -> Result<Secret, OneTimeError> {
    let now = row.at;
    let (secret, session) = new_one_time(ledger, account, lifetime, now).await?;
    let keep = async |ledger: Ledger| ledger.replace_sessions(&session, now).await;
    ledger.noted(key, vec![row], keep).await.map_err(OneTimeError::Ledger)?;
    Ok(secret)
}

async fn new_one_time(
    ledger: &Ledger,
    account: AccountId,
    lifetime: Duration,
    now: Millis,
) -> Result<(Secret, NewSession), OneTimeError> {
    let secret = Secret::generate().map_err(OneTimeError::Random)?;
    let kept = ledger.account(account).await.map_err(OneTimeError::Ledger)?;
    let session = NewSession {
        account,
        epoch: kept.ok_or(OneTimeError::NoAccount)?.epoch,
        kind: SessionKind::OneTime,
        hash: secret.digest(),
        expires_at: now.plus(lifetime),
    };
    Ok((secret, session))
}
