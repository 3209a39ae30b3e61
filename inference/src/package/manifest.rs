//! Walks a parsed `model.toml` so that every complaint names the line and what was expected.
//!
//! A [`Section`] remembers which keys were asked for; [`Section::done`] then refuses
//! the rest. It knows TOML, not models.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::PackageError;

/// Where a text came from, to turn byte positions into lines.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    line_starts: Vec<usize>,
}

impl Source {
    pub(crate) fn new(path: &Path, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { path: path.to_owned(), line_starts: std::iter::once(0).chain(breaks).collect() }
    }

    fn line(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte)
    }

    pub(crate) fn error(&self, at: &Range<usize>, problem: impl Into<String>) -> PackageError {
        PackageError::at_line(&self.path, self.line(at.start), problem)
    }
}

/// One table of the file.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    source: &'a Source,
    name: String,
    at: Range<usize>,
    table: &'a DeTable<'a>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    pub(crate) fn root(source: &'a Source, document: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            source,
            name: String::new(),
            at: document.span(),
            table: document.get_ref(),
            asked: RefCell::default(),
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    pub(crate) fn error(&self, problem: impl Into<String>) -> PackageError {
        self.source.error(&self.at, problem)
    }

    pub(crate) fn optional(&self, key: &'static str) -> Option<Field<'a>> {
        self.asked.borrow_mut().insert(key);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(Field { source: self.source, name: self.path(key), value })
    }

    /// The field `key`, which must be there; `expected` says what belongs in it.
    pub(crate) fn required(&self, key: &'static str, expected: &str) -> Result<Field<'a>, PackageError> {
        self.optional(key)
            .ok_or_else(|| self.error(format!("`{}` is missing: expected {expected}", self.path(key))))
    }

    pub(crate) fn section(&self, key: &'static str) -> Result<Option<Section<'a>>, PackageError> {
        self.optional(key).map(|field| field.section()).transpose()
    }

    /// The tables `[[key]]`, none when there are none.
    pub(crate) fn sections(&self, key: &'static str) -> Result<Vec<Section<'a>>, PackageError> {
        let Some(field) = self.optional(key) else { return Ok(Vec::new()) };
        if !field.value.get_ref().is_array() {
            return Err(field.error(format!(
                "`{}` is one table: expected a list of them, `[[{}]]`",
                field.name, field.name
            )));
        }
        field.list()?.iter().map(Field::section).collect()
    }

    pub(crate) fn text(&self, key: &'static str, expected: &str) -> Result<&'a str, PackageError> {
        self.required(key, expected)?.text()
    }

    pub(crate) fn optional_text(&self, key: &'static str) -> Result<Option<&'a str>, PackageError> {
        self.optional(key).map(|field| field.text()).transpose()
    }

    pub(crate) fn number_or(&self, key: &'static str, default: f64) -> Result<f64, PackageError> {
        self.optional(key).map_or(Ok(default), |field| field.number())
    }

    pub(crate) fn boolean_or(&self, key: &'static str, default: bool) -> Result<bool, PackageError> {
        self.optional(key).map_or(Ok(default), |field| field.boolean())
    }

    /// Refuses what nobody asked for.
    pub(crate) fn done(&self) -> Result<(), PackageError> {
        let asked = self.asked.borrow();
        for (key, _) in self.table {
            if !asked.contains(key.get_ref().as_ref()) {
                let known = asked.iter().copied().collect::<Vec<_>>().join(", ");
                let problem = format!("unknown key `{}`: expected one of {known}", self.path(key.get_ref()));
                return Err(self.source.error(&key.span(), problem));
            }
        }
        Ok(())
    }
}

/// One value of the file.
#[derive(Debug)]
pub(crate) struct Field<'a> {
    source: &'a Source,
    name: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Field<'a> {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn error(&self, problem: impl Into<String>) -> PackageError {
        self.source.error(&self.value.span(), problem)
    }

    fn expected(&self, what: &str) -> PackageError {
        self.error(format!("`{}` is {}: expected {what}", self.name, kind(self.value.get_ref())))
    }

    pub(crate) fn text(&self) -> Result<&'a str, PackageError> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text.as_ref()),
            _ => Err(self.expected("a text in quotes")),
        }
    }

    pub(crate) fn number(&self) -> Result<f64, PackageError> {
        let parsed = match self.value.get_ref() {
            DeValue::Integer(_) => return Ok(self.whole()? as f64),
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            _ => None,
        };
        parsed.filter(|number| number.is_finite()).ok_or_else(|| self.expected("a finite number"))
    }

    pub(crate) fn whole(&self) -> Result<i64, PackageError> {
        match self.value.get_ref() {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map_err(|_| self.error(format!("`{}` does not fit 64 bits", self.name))),
            _ => Err(self.expected("a whole number")),
        }
    }

    /// A whole number within `allowed`.
    pub(crate) fn count(&self, allowed: Range<usize>) -> Result<usize, PackageError> {
        let whole = self.whole()?;
        usize::try_from(whole).ok().filter(|number| allowed.contains(number)).ok_or_else(|| {
            self.error(format!(
                "`{}` is {whole}: expected a whole number from {} to {}",
                self.name,
                allowed.start,
                allowed.end - 1
            ))
        })
    }

    pub(crate) fn boolean(&self) -> Result<bool, PackageError> {
        self.value.get_ref().as_bool().ok_or_else(|| self.expected("true or false"))
    }

    pub(crate) fn list(&self) -> Result<Vec<Field<'a>>, PackageError> {
        let items = self.value.get_ref().as_array().ok_or_else(|| self.expected("a list"))?;
        let field = |(at, value)| Field { source: self.source, name: format!("{}[{at}]", self.name), value };
        Ok(items.iter().enumerate().map(field).collect())
    }

    pub(crate) fn texts(&self) -> Result<Vec<String>, PackageError> {
        self.list()?.iter().map(|item| item.text().map(str::to_owned)).collect()
    }

    /// A list of exactly three, one for each axis.
    pub(crate) fn three<T>(
        &self,
        read: impl Fn(&Field<'a>) -> Result<T, PackageError>,
    ) -> Result<[T; 3], PackageError> {
        let items = self.list()?.iter().map(read).collect::<Result<Vec<T>, _>>()?;
        let length = items.len();
        items.try_into().map_err(|_| {
            self.error(format!("`{}` has {length} entries: expected 3, for x, y and z", self.name))
        })
    }

    pub(crate) fn section(&self) -> Result<Section<'a>, PackageError> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Section {
                source: self.source,
                name: self.name.clone(),
                at: self.value.span(),
                table,
                asked: RefCell::default(),
            }),
            _ => Err(self.expected("a table")),
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// One of a closed set of words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, PackageError> {
        let text = self.text()?;
        choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let words = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            self.error(format!("`{}` is \"{text}\": expected one of {words}", self.name))
        })
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
