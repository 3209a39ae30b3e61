//! The package's own command that makes a new version of it from reviewed cases, and its limits.
//!
//! What is here is only read; the command is run where the reviewed cases are.

use std::time::Duration;

use super::{PackageError, manifest::Section};

const TIMEOUT_SECONDS_MAX: usize = 7 * 24 * 60 * 60;
const MEMORY_MIB_MAX: usize = 1 << 20;
const CASES_MAX: usize = 1_000_000;
const TIMEOUT_SECONDS: usize = 3600;
const MEMORY_MIB: usize = 4096;
const CASES_MIN: usize = 50;
/// What stands in the words of a command for a folder or a version.
pub(crate) const PLACES: [&str; 5] = ["{package}", "{models}", "{cases}", "{out}", "{version}"];

/// How a package is trained anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retrain {
    /// The program and its arguments, each a word of its own; no shell reads them.
    pub command: Vec<String>,
    pub timeout: Duration,
    /// Of the command and of each process that it starts.
    pub cpu_seconds: u64,
    pub memory_bytes: u64,
    /// With fewer reviewed cases it is not run.
    pub cases_min: usize,
}

/// What the places in a command stand for.
#[derive(Debug, Clone, Copy)]
pub struct RetrainPlaces<'a> {
    /// The version that is there.
    pub package: &'a str,
    /// The folder of all packages.
    pub models: &'a str,
    /// Reviewed cases without the people.
    pub cases: &'a str,
    /// Where the new version goes.
    pub out: &'a str,
    pub version: &'a str,
}

impl Retrain {
    pub(super) fn read(root: &Section<'_>) -> Result<Option<Self>, PackageError> {
        let Some(section) = root.section("retrain")? else { return Ok(None) };
        let field = section.required("command", "the program and its arguments, each a text of its own")?;
        let command = field.texts()?;
        if command.first().is_none_or(String::is_empty) {
            return Err(field.error("`retrain.command` is empty: expected a program and its arguments"));
        }
        for needed in ["{cases}", "{out}"] {
            if !command.iter().any(|word| word.contains(needed)) {
                return Err(field.error(format!("`retrain.command` does not say where {needed} goes")));
            }
        }
        if let Some(place) = command.iter().find_map(|word| unknown_place(word)) {
            let known = PLACES.join(", ");
            return Err(field.error(format!("`retrain.command` holds {place}: expected one of {known}")));
        }
        let count = |key: &'static str, max: usize, default: usize| {
            section.optional(key).map_or(Ok(default), |field| field.count(1..max + 1))
        };
        let timeout = count("timeout_seconds", TIMEOUT_SECONDS_MAX, TIMEOUT_SECONDS)?;
        let retrain = Self {
            command,
            timeout: Duration::from_secs(timeout as u64),
            cpu_seconds: count("cpu_seconds", TIMEOUT_SECONDS_MAX, timeout)? as u64,
            memory_bytes: (count("memory_mib", MEMORY_MIB_MAX, MEMORY_MIB)? as u64) << 20,
            cases_min: count("cases_min", CASES_MAX, CASES_MIN)?,
        };
        section.done()?;
        Ok(Some(retrain))
    }

    /// The words of the command with the places filled in.
    pub fn words(&self, places: &RetrainPlaces<'_>) -> Vec<String> {
        let values = [places.package, places.models, places.cases, places.out, places.version];
        self.command.iter().map(|word| filled(word, &values)).collect()
    }
}

/// Left to right, once: what a place stands for is not looked through for places.
fn filled(word: &str, values: &[&str; 5]) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        match PLACES.iter().zip(values).find(|(place, _)| rest.starts_with(**place)) {
            Some((place, value)) => {
                text.push_str(value);
                rest = &rest[place.len()..];
            }
            None => {
                text.push('{');
                rest = &rest[1..];
            }
        }
    }
    text + rest
}

/// A word in braces that looks like a place and is none.
fn unknown_place(word: &str) -> Option<&str> {
    let begin = word.find('{')?;
    let end = begin + word[begin..].find('}')? + 1;
    let inside = &word[begin + 1..end - 1];
    let looks_like_one = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_lowercase());
    let place = &word[begin..end];
    if looks_like_one && !PLACES.contains(&place) { Some(place) } else { unknown_place(&word[end..]) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::package::Package;

    const MESO: &str = include_str!("../../../models/meso/model.toml");

    fn parsed(table: &str) -> Result<Option<Retrain>, String> {
        let (rest, _) = MESO.split_once("[retrain]").unwrap();
        let text = format!("{rest}{table}");
        Package::parse(Path::new("meso"), &text)
            .map(|package| package.retrain)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_is_words_with_places() {
        let table = "[retrain]\ncommand = [\"train\", \"--in={cases}\", \"{out}\", \"{version}\", \"{}\"]";
        let retrain = parsed(table).unwrap().unwrap();
        let places = RetrainPlaces {
            package: "p",
            models: "m",
            cases: "/c {out}; rm -rf /",
            out: "/o",
            version: "1.0.1",
        };
        assert_eq!(retrain.words(&places), ["train", "--in=/c {out}; rm -rf /", "/o", "1.0.1", "{}"]);
        assert_eq!(
            (retrain.timeout, retrain.cpu_seconds, retrain.cases_min),
            (Duration::from_secs(3600), 3600, 50)
        );
        assert_eq!(parsed("").unwrap(), None);
    }

    #[test]
    fn what_a_command_lacks_is_named() {
        for (table, problem) in [
            ("[retrain]", "`retrain.command` is missing"),
            ("[retrain]\ncommand = []", "`retrain.command` is empty"),
            ("[retrain]\ncommand = [\"train\", \"{cases}\"]", "does not say where {out} goes"),
            ("[retrain]\ncommand = [\"train\", \"{cases}\", \"{out}\", \"{home}\"]", "holds {home}"),
            ("[retrain]\ncommand = [\"t\", \"{cases}\", \"{out}\"]\ntimeout_seconds = 0", "is 0: expected"),
            (
                "[retrain]\ncommand = [\"t\", \"{cases}\", \"{out}\"]\nshell = true",
                "unknown key `retrain.shell`",
            ),
        ] {
            let error = parsed(table).unwrap_err();
            assert!(error.contains(problem), "{table}: {error}");
        }
    }
}
