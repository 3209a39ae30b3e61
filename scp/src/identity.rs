//! User identity (PS3.7 §D.3.3.7): who an association says it is, and how that is checked.
//!
//! A passcode is compared in constant time; a JSON Web Token must be signed by the configured
//! key, name who it is for when that is configured, and not have expired. Kerberos tickets
//! and SAML assertions are not evaluated: nobody gets in by one.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};

use crate::pdu::{IdentityKind, Rejection, UserIdentity};

/// Who may come in by name; empty lets everybody in.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    pub users: Vec<UserPasscode>,
    pub tokens: Option<TokenRule>,
}

#[derive(Clone)]
pub struct UserPasscode {
    pub name: String,
    pub passcode: String,
}

impl fmt::Debug for UserPasscode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UserPasscode").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Which tokens count: the issuer's public key, and what a token must say.
#[derive(Clone)]
pub struct TokenRule {
    key: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for TokenRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenRule").field("validation", &self.validation).finish_non_exhaustive()
    }
}

/// The key of a token's issuer cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("not a public key in PEM form (RSA, EC P-256 or P-384, Ed25519)")]
pub struct BadTokenKey;

impl TokenRule {
    /// # Errors
    /// When `pem` is no public key.
    pub fn new(pem: &[u8], issuer: Option<&str>, audience: Option<&str>) -> Result<Self, BadTokenKey> {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        type Parse = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;
        let forms: [(Parse, &[Algorithm]); 3] = [
            (DecodingKey::from_rsa_pem, &[RS256, RS384, RS512, PS256, PS384, PS512]),
            (DecodingKey::from_ec_pem, &[ES256, ES384]),
            (DecodingKey::from_ed_pem, &[EdDSA]),
        ];
        let parsed = forms.iter().find_map(|(parse, algorithms)| Some((parse(pem).ok()?, algorithms)));
        let (key, algorithms) = parsed.ok_or(BadTokenKey)?;
        let mut validation = Validation::new(algorithms[0]);
        validation.algorithms = algorithms.to_vec();
        match audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            None => validation.validate_aud = false,
        }
        if let Some(issuer) = issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Ok(Self { key, validation })
    }

    fn accepts(&self, token: &[u8]) -> bool {
        decode::<serde::de::IgnoredAny>(token, &self.key, &self.validation).is_ok()
    }
}

/// What became of a user identity that did not keep its association out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    Known,
    /// Nobody looked at it.
    NotAsked,
}

impl Identities {
    /// # Errors
    /// When somebody must be named, and nobody who may come is.
    pub(crate) fn check(&self, identity: Option<&UserIdentity>) -> Result<Checked, Rejection> {
        if self.users.is_empty() && self.tokens.is_none() {
            return Ok(Checked::NotAsked);
        }
        let known = identity.is_some_and(|identity| match identity.kind {
            IdentityKind::UsernameAndPasscode => self.users.iter().any(|user| {
                user.name.as_bytes() == identity.primary
                    && same_secret(user.passcode.as_bytes(), &identity.secondary)
            }),
            IdentityKind::JsonWebToken => {
                self.tokens.as_ref().is_some_and(|rule| rule.accepts(&identity.primary))
            }
            IdentityKind::Username | IdentityKind::Other(_) => false,
        });
        if known { Ok(Checked::Known) } else { Err(Rejection::NoReasonGiven) }
    }
}

/// Takes the same time wherever the two differ.
fn same_secret(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(kind: IdentityKind, primary: &[u8], secondary: &[u8]) -> UserIdentity {
        UserIdentity { kind, wants_response: false, primary: primary.to_vec(), secondary: secondary.to_vec() }
    }

    #[test]
    fn with_users_configured_only_they_get_in() {
        let user = UserPasscode { name: "ct".to_owned(), passcode: "secret".to_owned() };
        let rule = Identities { users: vec![user], tokens: None };
        let passcode = |text: &[u8]| identity(IdentityKind::UsernameAndPasscode, b"ct", text);
        assert_eq!(rule.check(Some(&passcode(b"secret"))), Ok(Checked::Known));
        assert!(rule.check(Some(&passcode(b"wrong!"))).is_err());
        assert!(rule.check(Some(&identity(IdentityKind::Username, b"ct", b""))).is_err());
        assert!(rule.check(Some(&identity(IdentityKind::JsonWebToken, b"ct", b"secret"))).is_err());
        assert!(rule.check(None).is_err());
        assert_eq!(Identities::default().check(None), Ok(Checked::NotAsked));
        assert_eq!(Identities::default().check(Some(&passcode(b"secret"))), Ok(Checked::NotAsked));
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        assert!(TokenRule::new(b"-----BEGIN CERTIFICATE-----", None, None).is_err());
    }
}
