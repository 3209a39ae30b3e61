//! The access tokens of the Django gateway that stood in front of the old servers.
//!
//! HS256 with a key that both sides know; `token_type`, `user_id` and `exp`. Who its users
//! are here is a table that a person wrote. The algorithm is fixed.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use ledger::Millis;
use serde::Deserialize;

use crate::error::{ApiError, ApiResult, Code};

const KEY_BYTES_MIN: usize = 32;
const ACCESS: &str = "access";
/// No user of Django has a longer number or name.
const USER_LENGTH_MAX: usize = 64;

/// The shared key is shorter than HS256 needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key of the old gateway has {0} bytes, at least {KEY_BYTES_MIN} are needed")]
pub struct ShortGatewayKey(usize);

/// Reads the gateway's tokens.
#[derive(Clone)]
pub struct GatewayTokens {
    key: DecodingKey,
    users: BTreeMap<String, String>,
}

impl std::fmt::Debug for GatewayTokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GatewayTokens").field("users", &self.users).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    token_type: String,
    user_id: UserId,
    exp: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UserId {
    Number(u64),
    Text(String),
}

impl GatewayTokens {
    /// `users`: the account of each `user_id`.
    ///
    /// # Errors
    /// RFC 7518 §3.2: HS256 needs a key of 256 bits or more.
    pub fn new(key: &[u8], users: BTreeMap<String, String>) -> Result<Self, ShortGatewayKey> {
        if key.len() < KEY_BYTES_MIN {
            return Err(ShortGatewayKey(key.len()));
        }
        Ok(Self { key: DecodingKey::from_secret(key), users })
    }

    /// The user whose token this is; none when the gateway did not sign it.
    pub(crate) fn user(&self, token: &str, now: Millis) -> ApiResult<Option<String>> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp"]);
        // By the clock that tests move, below.
        validation.validate_exp = false;
        validation.validate_aud = false;
        let Ok(token) = jsonwebtoken::decode::<Claims>(token, &self.key, &validation) else {
            return Ok(None);
        };
        let claims = token.claims;
        if claims.token_type != ACCESS {
            return Err(ApiError::because(Code::BadCredentials, "this token is not for access"));
        }
        if now.0.div_euclid(1000) >= claims.exp {
            return Err(ApiError::because(Code::TokenExpired, "refresh it, or sign in again"));
        }
        let user = match claims.user_id {
            UserId::Number(number) => number.to_string(),
            UserId::Text(text) => text,
        };
        let plain = !user.is_empty() && user.len() <= USER_LENGTH_MAX && !user.chars().any(char::is_control);
        if plain { Ok(Some(user)) } else { Err(ApiError::new(Code::BadCredentials)) }
    }

    pub(crate) fn account_of(&self, user: &str) -> Option<&str> {
        self.users.get(user).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;

    const KEY: &[u8] = b"a key that two programs of one hospital share";
    const NOW: Millis = Millis(1_700_000_000_000);

    fn sign(algorithm: Algorithm, key: &[u8], claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key)).unwrap()
    }

    #[track_caller]
    fn check(token: &str, expect: Result<Option<&str>, Code>) {
        let tokens = GatewayTokens::new(KEY, BTreeMap::new()).unwrap();
        let found = tokens.user(token, NOW).map_err(|error| error.code());
        assert_eq!(found, expect.map(|user| user.map(str::to_owned)));
    }

    fn claims(token_type: &str, exp: i64) -> Value {
        json!({ "token_type": token_type, "user_id": 12, "exp": exp, "jti": "x" })
    }

    #[test]
    fn an_access_token_of_the_gateway_names_its_user() {
        check(&sign(Algorithm::HS256, KEY, &claims("access", 1_700_000_060)), Ok(Some("12")));
        let named = json!({ "token_type": "access", "user_id": "kim", "exp": 1_700_000_060 });
        check(&sign(Algorithm::HS256, KEY, &named), Ok(Some("kim")));
    }

    #[test]
    fn others_and_refresh_and_old_tokens_do_not() {
        check(&sign(Algorithm::HS256, KEY, &claims("refresh", 1_700_000_060)), Err(Code::BadCredentials));
        check(&sign(Algorithm::HS256, KEY, &claims("access", 1_700_000_000)), Err(Code::TokenExpired));
        check(&sign(Algorithm::HS256, &[7; 32], &claims("access", 1_700_000_060)), Ok(None));
        check(&sign(Algorithm::HS512, KEY, &claims("access", 1_700_000_060)), Ok(None));
        check("eyJhbGciOiJub25lIn0.e30.", Ok(None));
        check(&sign(Algorithm::HS256, KEY, &json!({ "token_type": "access", "user_id": 12 })), Ok(None));
    }

    #[test]
    fn a_short_key_is_refused() {
        assert_eq!(GatewayTokens::new(&[0; 31], BTreeMap::new()).unwrap_err(), ShortGatewayKey(31));
    }
}
