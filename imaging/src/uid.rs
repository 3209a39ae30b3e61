//! Unique identifiers, checked once where they enter.
//!
//! A UID that a peer sends may become a folder name, so a value of these types
//! holds digits and dots only, never an empty component and never more than 64
//! characters. Leading zeros of a component are tolerated: archives are full of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest UID that PS3.5 §9.1 allows.
pub const UID_LENGTH_MAX: usize = 64;

/// A text that is no UID. It is not repeated here: it came from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUid {
    #[error("the UID is empty")]
    Empty,
    #[error("the UID has {0} characters, at most {UID_LENGTH_MAX} are allowed")]
    TooLong(usize),
    #[error("the UID has a character that is neither a digit nor a dot")]
    Character,
    #[error("the UID has an empty component")]
    EmptyComponent,
}

/// Any UID: a SOP class, a transfer syntax, a frame of reference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Box<str>);

impl Uid {
    /// Accepts `text` when it is a UID; trailing NULs and spaces (padding) are dropped.
    ///
    /// # Errors
    /// Says which rule of PS3.5 §9.1 is broken.
    pub fn parse(text: &str) -> Result<Self, BadUid> {
        let text = text.trim_end_matches(['\0', ' ']);
        if text.is_empty() {
            return Err(BadUid::Empty);
        }
        if text.len() > UID_LENGTH_MAX {
            return Err(BadUid::TooLong(text.len()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(BadUid::Character);
        }
        if text.split('.').any(str::is_empty) {
            return Err(BadUid::EmptyComponent);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Uid {
    type Err = BadUid;

    fn from_str(text: &str) -> Result<Self, BadUid> {
        Self::parse(text)
    }
}

impl AsRef<str> for Uid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Serialize for Uid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

macro_rules! uid_kinds {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uid);

        impl $name {
            /// Accepts `text` when it is a UID.
            ///
            /// # Errors
            /// Says which rule of PS3.5 §9.1 is broken.
            pub fn parse(text: &str) -> Result<Self, BadUid> {
                Uid::parse(text).map(Self)
            }

            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }

        impl FromStr for $name {
            type Err = BadUid;

            fn from_str(text: &str) -> Result<Self, BadUid> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl From<Uid> for $name {
            fn from(uid: Uid) -> Self {
                Self(uid)
            }
        }

        impl From<$name> for Uid {
            fn from(uid: $name) -> Self {
                uid.0
            }
        }
    )+};
}

uid_kinds! {
    /// Study Instance UID (0020,000D).
    StudyUid,
    /// Series Instance UID (0020,000E).
    SeriesUid,
    /// SOP Instance UID (0008,0018).
    SopInstanceUid,
    /// SOP Class UID (0008,0016).
    SopClassUid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, BadUid>) {
        assert_eq!(Uid::parse(text).as_ref().map(Uid::as_str), expected.as_ref().copied(), "{text:?}");
    }

    #[test]
    fn uids_are_digits_and_dots() {
        check("1.2.840.10008.1.2", Ok("1.2.840.10008.1.2"));
        check("1.2.840.10008.1.2\0", Ok("1.2.840.10008.1.2"));
        check("1.2.03", Ok("1.2.03"));
        check("", Err(BadUid::Empty));
        check("\0", Err(BadUid::Empty));
        check("../../etc/passwd", Err(BadUid::Character));
        check("1.2/3", Err(BadUid::Character));
        check("..", Err(BadUid::EmptyComponent));
        check("1..2", Err(BadUid::EmptyComponent));
        check(".1", Err(BadUid::EmptyComponent));
        check(&"1".repeat(65), Err(BadUid::TooLong(65)));
    }

    #[test]
    fn a_stored_uid_is_checked_again_when_read() {
        assert!(serde_json::from_str::<StudyUid>("\"1.2.3\"").is_ok_and(|uid| uid.as_str() == "1.2.3"));
        assert!(serde_json::from_str::<StudyUid>("\"a/b\"").is_err());
    }
}
