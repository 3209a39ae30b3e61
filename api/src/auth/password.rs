//! Passwords, kept as argon2id and compared off the async threads.
//!
//! A hash takes some 19 MiB and tens of milliseconds, so few run at once and few more may
//! wait: a flood of sign-ins is answered 503 and starves nobody else.

use std::sync::{Arc, LazyLock};

use argon2::{
    Argon2, PasswordHash, PasswordHasher, PasswordVerifier,
    password_hash::{SaltString, rand_core::OsRng},
};
use tokio::sync::Semaphore;

use crate::error::{ApiError, ApiResult, Code};

const LENGTH_MIN: usize = 12;
const LENGTH_MAX: usize = 256;
const AT_ONCE: usize = 2;
const WAITING_MAX: usize = 32;

/// A password as typed. It is never shown and never kept.
#[derive(Clone, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = Password)]
pub struct Password(String);

impl Password {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// Why a password cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("a password has at least {LENGTH_MIN} characters")]
    TooShort,
    #[error("a password has at most {LENGTH_MAX} bytes")]
    TooLong,
    #[error("the password cannot be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// What is stored for `password`: algorithm, parameters, salt and hash in one text. It
/// computes for tens of milliseconds.
///
/// # Errors
/// The password is too short or too long, or the machine gives no memory or random bytes.
pub fn hash_password(password: &Password) -> Result<String, PasswordError> {
    if password.0.chars().count() < LENGTH_MIN {
        return Err(PasswordError::TooShort);
    }
    if password.0.len() > LENGTH_MAX {
        return Err(PasswordError::TooLong);
    }
    let salt = SaltString::generate(&mut OsRng);
    let hash = Argon2::default().hash_password(password.0.as_bytes(), &salt).map_err(PasswordError::Hash)?;
    Ok(hash.to_string())
}

/// What is compared when there is no such account, so that both take the same time.
static NOBODY: LazyLock<Option<String>> =
    LazyLock::new(|| hash_password(&Password::new("nobody has this password")).ok());

fn verify(password: &Password, stored: &str) -> Result<bool, argon2::password_hash::Error> {
    if password.0.len() > LENGTH_MAX {
        return Ok(false);
    }
    match Argon2::default().verify_password(password.0.as_bytes(), &PasswordHash::new(stored)?) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Compares and makes hashes on blocking threads, a few at a time.
#[derive(Debug, Clone)]
pub(crate) struct PasswordWork {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl PasswordWork {
    pub(crate) fn new() -> Self {
        Self {
            running: Arc::new(Semaphore::new(AT_ONCE)),
            admitted: Arc::new(Semaphore::new(AT_ONCE + WAITING_MAX)),
        }
    }

    /// Is `password` what was stored? `None`: there is no account; the answer is no, as slowly.
    pub(crate) async fn matches(&self, password: Password, stored: Option<String>) -> ApiResult<bool> {
        let known = stored.is_some();
        self.run(move || {
            let Some(stored) = stored.as_ref().or(NOBODY.as_ref()) else { return Ok(false) };
            verify(&password, stored).map(|equal| equal && known)
        })
        .await?
        .map_err(|error| {
            ApiError::new(Code::Internal).caused_by(format!("cannot compare a password: {error}"))
        })
    }

    pub(crate) async fn hash(&self, password: Password) -> ApiResult<String> {
        self.run(move || hash_password(&password)).await?.map_err(|error| match error {
            PasswordError::TooShort | PasswordError::TooLong => {
                ApiError::because(Code::Unprocessable, error.to_string())
            }
            PasswordError::Hash(_) => ApiError::internal(error),
        })
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
        let Ok(_admitted) = self.admitted.try_acquire() else {
            return Err(ApiError::because(Code::Overloaded, "too many people are signing in; try again")
                .retry_after(std::time::Duration::from_secs(2)));
        };
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(ApiError::internal)?;
        // The permit goes along: a caller who hangs up does not make room for a third hash.
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
        .await
        .map_err(ApiError::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_password_is_argon2id_and_salted() {
        let password = Password::new("correct horse battery");
        let (one, other) = (hash_password(&password).unwrap(), hash_password(&password).unwrap());
        assert!(one.starts_with("$argon2id$"), "{one}");
        assert_ne!(one, other);
        assert!(verify(&password, &one).unwrap() && verify(&password, &other).unwrap());
        assert!(!verify(&Password::new("correct horse batterz"), &one).unwrap());
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert_eq!(hash_password(&Password::new("elevenchars")), Err(PasswordError::TooShort));
        assert_eq!(hash_password(&Password::new("x".repeat(257))), Err(PasswordError::TooLong));
    }

    #[tokio::test]
    async fn nobodys_password_matches_nothing() {
        let work = PasswordWork::new();
        assert!(!work.matches(Password::new("nobody has this password"), None).await.unwrap());
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(format!("{:?}", Password::new("secret words here")), "***");
    }
}
