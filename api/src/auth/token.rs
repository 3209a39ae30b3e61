//! Our own tokens: HS256, either for access or for refresh.
//!
//! The signature turns garbage away without asking the database. Whether the sign-in still
//! stands, and what its account may do, is read from the ledger at each request, so that a
//! sign-out, a changed role or a closed account counts at once.
//! The algorithm is fixed: a token that names another, or none, is refused.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ledger::{AccountId, Millis};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{ApiError, ApiResult, Code};

const ISSUER: &str = "overread";
const SECRET_BYTES_MIN: usize = 32;

/// What a token may be used for. A refresh token opens nothing but `/v1/auth/refresh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Access,
    Refresh,
}

impl Purpose {
    const fn audience(self) -> &'static str {
        match self {
            Self::Access => "overread:access",
            Self::Refresh => "overread:refresh",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    /// The account. What it may do is read from the ledger, not from here.
    sub: String,
    /// Makes every token another text, also of one account in one second.
    jti: String,
    iat: i64,
    exp: i64,
}

/// The signing secret is shorter than HS256 needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token secret has {0} bytes, at least {SECRET_BYTES_MIN} are needed")]
pub struct ShortSecret(usize);

/// Signs and reads tokens. The secret is made by the binary and lives in `data_dir`.
#[derive(Clone)]
pub struct TokenSigner {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenSigner(***)")
    }
}

impl TokenSigner {
    /// # Errors
    /// RFC 7518 §3.2: HS256 needs a key of 256 bits or more.
    pub fn new(secret: &[u8]) -> Result<Self, ShortSecret> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(ShortSecret(secret.len()));
        }
        Ok(Self { encoding: EncodingKey::from_secret(secret), decoding: DecodingKey::from_secret(secret) })
    }

    /// A token for `account`, and the moment at which it expires.
    pub(crate) fn sign(
        &self,
        purpose: Purpose,
        account: AccountId,
        now: Millis,
        lifetime: Duration,
    ) -> ApiResult<(String, Millis)> {
        let expires_at = now.plus(lifetime);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: purpose.audience().to_owned(),
            sub: account.to_string(),
            jti: Uuid::new_v4().to_string(),
            iat: seconds(now),
            exp: seconds(expires_at),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(ApiError::internal)?;
        Ok((token, expires_at))
    }

    /// Is it a token that we signed for `purpose`, and that is still good?
    pub(crate) fn check(&self, purpose: Purpose, token: &str, now: Millis) -> ApiResult<()> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[purpose.audience()]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        // Below, by the clock that tests move, and without leeway: the signer is this service.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation)
            .map_err(|_| {
                ApiError::because(Code::BadCredentials, "this token was not given out here for this use")
            })?
            .claims;
        if seconds(now) >= claims.exp {
            return Err(ApiError::because(Code::TokenExpired, "refresh it, or sign in again"));
        }
        Ok(())
    }
}

fn seconds(moment: Millis) -> i64 {
    moment.0.div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);

    fn signer() -> TokenSigner {
        TokenSigner::new(&[7; 32]).unwrap()
    }

    fn access() -> String {
        signer().sign(Purpose::Access, AccountId::generate(), NOW, Duration::from_secs(60)).unwrap().0
    }

    #[track_caller]
    fn check(signer: &TokenSigner, purpose: Purpose, token: &str, now: Millis, expect: Result<(), Code>) {
        assert_eq!(signer.check(purpose, token, now).map_err(|error| error.code()), expect);
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        check(&signer(), Purpose::Access, &access(), Millis(NOW.0 + 59_999), Ok(()));
        check(&signer(), Purpose::Access, &access(), Millis(NOW.0 + 60_000), Err(Code::TokenExpired));
    }

    #[test]
    fn a_token_opens_only_what_it_is_for() {
        check(&signer(), Purpose::Refresh, &access(), NOW, Err(Code::BadCredentials));
    }

    #[test]
    fn a_foreign_signature_or_algorithm_is_refused() {
        let other = TokenSigner::new(&[8; 32]).unwrap();
        check(&other, Purpose::Access, &access(), NOW, Err(Code::BadCredentials));
        // {"alg":"none","typ":"JWT"} in front of our own claims.
        let token = access();
        let claims = token.split('.').nth(1).unwrap();
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.");
        check(&signer(), Purpose::Access, &none, NOW, Err(Code::BadCredentials));
        check(&signer(), Purpose::Access, "", NOW, Err(Code::BadCredentials));
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert_eq!(TokenSigner::new(&[0; 31]).unwrap_err(), ShortSecret(31));
    }
}
