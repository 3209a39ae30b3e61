//! `[[site_rule]]`: what a site says about a model beside what its package says.

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::check::ConfigError;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteRule {
    /// The model's id.
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) disabled: bool,
    #[serde(default)]
    pub(crate) stat: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) calling_ae: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) series_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) series_description_not: Option<String>,
    /// Names of destinations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destinations: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) four_eyes: Option<bool>,
}

impl SiteRule {
    /// As the pipeline wants it.
    ///
    /// # Errors
    /// A pattern is no regular expression.
    pub(crate) fn parsed(&self, prefix: &str) -> Result<pipeline::SiteRule, ConfigError> {
        Ok(pipeline::SiteRule {
            model: self.model.clone(),
            disabled: self.disabled,
            stat: self.stat,
            calling_ae: self.calling_ae.clone(),
            series_description: pattern(
                &format!("{prefix}.series_description"),
                self.series_description.as_ref(),
            )?,
            series_description_not: pattern(
                &format!("{prefix}.series_description_not"),
                self.series_description_not.as_ref(),
            )?,
            destinations: self.destinations.clone(),
            four_eyes: self.four_eyes,
        })
    }
}

fn pattern(key: &str, text: Option<&String>) -> Result<Option<Regex>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    let parsed = Regex::new(text)
        .map_err(|_| ConfigError::key(key, format!("is {text:?}, which is no regular expression")))?;
    Ok(Some(parsed))
}
