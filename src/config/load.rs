//! Lays default file, user's file, environment and flags over each other.

use std::path::{Path, PathBuf};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Env, Format, Serialized, Toml},
    value::{Dict, Map, Value},
};

use super::{Config, ConfigError, DEFAULT_FILE, check};

/// What the command line says about the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Overrides {
    pub(crate) file: ConfigFile,
    /// `--set key=value`, in order.
    pub(crate) set: Vec<(String, String)>,
}

/// Which file is laid over the defaults.
#[derive(Debug, Clone)]
pub(crate) enum ConfigFile {
    /// `--config FILE`; it must be there.
    Named(PathBuf),
    /// `./overread.toml` when there is one.
    InWorkingFolder,
    /// None at all.
    Nothing,
}

const FILE_IN_WORKING_FOLDER: &str = "overread.toml";
const ENVIRONMENT_PREFIX: &str = "OVERREAD__";

/// Reads and checks the whole configuration.
///
/// # Errors
/// Names the key, the value, where it was written and what is allowed.
pub(crate) fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
    let figment = Figment::from(Toml::string(DEFAULT_FILE));
    let figment = match file_to_read(overrides)? {
        Some(file) => merge_file(figment, &file)?,
        None => figment,
    };
    let figment = figment.merge(Env::prefixed(ENVIRONMENT_PREFIX).split("__"));
    let figment =
        overrides.set.iter().fold(figment, |figment, (key, value)| figment.merge(Flag::new(key, value)));
    let config: Config = figment.extract().map_err(ConfigError::from_figment)?;
    check::whole(&config)?;
    Ok(config)
}

fn file_to_read(overrides: &Overrides) -> Result<Option<PathBuf>, ConfigError> {
    match &overrides.file {
        ConfigFile::Named(file) if file.is_file() => Ok(Some(file.clone())),
        ConfigFile::Named(file) => Err(ConfigError::no_file(file)),
        ConfigFile::InWorkingFolder => {
            let file = Path::new(FILE_IN_WORKING_FOLDER);
            Ok(file.is_file().then(|| file.to_path_buf()))
        }
        ConfigFile::Nothing => Ok(None),
    }
}

fn merge_file(figment: Figment, file: &Path) -> Result<Figment, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|error| ConfigError::unreadable(file, &error))?;
    // Read here first: the toml crate's own message has line and column.
    text.parse::<toml::Table>().map_err(|error| ConfigError::syntax(file, &error))?;
    Ok(figment.merge(Named { file: file.to_path_buf(), provider: Toml::string(&text) }))
}

/// A file's settings, so that errors name the file.
struct Named<P> {
    file: PathBuf,
    provider: P,
}

impl<P: Provider> Provider for Named<P> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.file.display().to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        self.provider.data()
    }
}

/// One `--set key=value`; the value is read like one of the environment.
struct Flag {
    key: String,
    value: Value,
}

impl Flag {
    fn new(key: &str, value: &str) -> Self {
        // Parsing cannot fail: what is no number, list or table is a text.
        let value = value.parse::<Value>().unwrap_or_else(|never| match never {});
        Self { key: key.to_owned(), value }
    }
}

impl Provider for Flag {
    fn metadata(&self) -> Metadata {
        Metadata::named("--set")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::default(&self.key, &self.value).data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_alone_is_a_valid_configuration() {
        let config: Config = Figment::from(Toml::string(DEFAULT_FILE)).extract().unwrap();
        check::whole(&config).unwrap();
        assert_eq!(config.dicom.ae_title, "OVERREAD");
    }

    /// What the default file shows as a comment must be accepted when it is written.
    #[test]
    fn every_commented_setting_of_the_default_file_is_accepted() {
        let text: String = DEFAULT_FILE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => setting,
                Some(_) | None => line,
            })
            .collect::<Vec<_>>()
            .join("\n");
        assert!(text.contains("\nwebhook_secret"), "the comments were not taken away");
        let config: Config = Figment::from(Toml::string(&text)).extract().unwrap();
        assert_eq!(config.destinations.len(), 4);
        assert_eq!(config.sources.len(), 1);
        assert_eq!(config.subscribers.len(), 2);
        for destination in &config.destinations {
            assert_eq!(destination.problem(), None, "{}", destination.name);
        }
    }
}
