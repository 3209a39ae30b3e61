//! Coded concepts (PS3.3 §8): value, scheme, meaning.

use serde::{Deserialize, Serialize};

/// A code as SEG, SR and model packages use it, for example `(10200004, SCT, "Liver")`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Code {
    pub value: String,
    pub scheme: String,
    pub meaning: String,
}

impl Code {
    pub fn new(value: &str, scheme: &str, meaning: &str) -> Self {
        Self { value: value.into(), scheme: scheme.into(), meaning: meaning.into() }
    }
}
