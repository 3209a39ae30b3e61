//! API keys: 256 random bits that are shown once and kept as their SHA-256.
//!
//! A key of full entropy needs no slow hash. It is hashed before anything is compared, and
//! found by its digest: what the time of a comparison could tell is something about a
//! digest that nobody can choose, and nothing about the key.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRngCore, rngs::OsRng};
use sha2::{Digest, Sha256};

const PREFIX: &str = "ovr_";
const BYTES: usize = 32;

/// A secret that a program or person shows us: an API key or a one-time login.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// # Errors
    /// The machine gives no random bytes.
    pub fn generate() -> Result<Self, rand::rand_core::OsError> {
        let mut bytes = [0; BYTES];
        OsRng.try_fill_bytes(&mut bytes)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The text, to be shown to its owner once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored in its place.
    pub fn digest(&self) -> String {
        digest_of(&self.0)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// SHA-256 of a secret as it was sent, in hexadecimal.
pub fn digest_of(secret: &str) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    Sha256::digest(secret.as_bytes()).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_differ_and_hide() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_eq!(one.expose().len(), PREFIX.len() + 43);
        assert_ne!(one.expose(), other.expose());
        assert_ne!(one.digest(), other.digest());
        assert_eq!(format!("{one:?}"), "***");
    }

    #[test]
    fn the_digest_is_sha256() {
        assert_eq!(digest_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
