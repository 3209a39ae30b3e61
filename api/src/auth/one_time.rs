//! A login that works once: how the first administrator and the demo get in, with no
//! default password anywhere.

use std::time::Duration;

use ledger::{AccountId, Ledger, Millis, NewSession, SessionKind};

use super::key::Secret;

/// Why no one-time login could be made.
#[derive(Debug, thiserror::Error)]
pub enum OneTimeError {
    #[error("the machine gives no random bytes")]
    Random(#[source] rand::rand_core::OsError),
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
    let secret = Secret::generate().map_err(OneTimeError::Random)?;
    let session = NewSession {
        account,
        kind: SessionKind::OneTime,
        hash: secret.digest(),
        expires_at: now.plus(lifetime),
    };
    ledger.add_session(&session, now).await.map_err(OneTimeError::Ledger)?;
    Ok(secret)
}
