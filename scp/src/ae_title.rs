//! Names of application entities.

use std::{fmt, str::FromStr};

/// An AE title (PS3.5 §6.2, VR AE): 1 to 16 printable characters without backslash, outer spaces dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AeTitle(String);

/// A text that is no AE title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an AE title has 1 to 16 printable ASCII characters and no backslash")]
pub struct BadAeTitle;

impl AeTitle {
    /// # Errors
    /// When `text` is no AE title.
    pub fn parse(text: &str) -> Result<Self, BadAeTitle> {
        let text = text.trim_matches(' ');
        let valid = (1..=16).contains(&text.len())
            && text.bytes().all(|byte| (0x20..0x7F).contains(&byte) && byte != b'\\');
        if valid { Ok(Self(text.to_owned())) } else { Err(BadAeTitle) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 16 bytes of the field in an A-ASSOCIATE PDU, padded with spaces (PS3.8 §9.3.2).
    pub(crate) fn field(&self) -> [u8; 16] {
        let mut field = [b' '; 16];
        field[..self.0.len()].copy_from_slice(self.0.as_bytes());
        field
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for AeTitle {
    type Err = BadAeTitle;

    fn from_str(text: &str) -> Result<Self, BadAeTitle> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ae_titles_are_short_and_printable() {
        assert_eq!(AeTitle::parse(" OVERREAD ").map(|title| title.0), Ok("OVERREAD".to_owned()));
        for bad in ["", "   ", "A\\B", "SEVENTEEN_LETTERS", "A\nB", "\u{e9}"] {
            assert_eq!(AeTitle::parse(bad), Err(BadAeTitle), "{bad:?}");
        }
    }
}
