//! Rows, read column by column into the types of this crate.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, Postgres, Row as _, Sqlite, Type};

use crate::{Error, Millis};

pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A type that a row is read into.
pub(crate) trait Record: Sized {
    fn read(row: &Row) -> Result<Self, Error>;
}

/// A word in the database that this version of Overread does not know.
#[derive(Debug, thiserror::Error)]
#[error("{word:?} is no {of}")]
pub struct UnknownWord {
    pub(crate) of: &'static str,
    pub(crate) word: String,
}

impl Row {
    pub(crate) fn int(&self, column: &'static str) -> Result<i64, Error> {
        self.get(column)
    }

    pub(crate) fn int_or_null(&self, column: &'static str) -> Result<Option<i64>, Error> {
        self.get(column)
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String, Error> {
        self.get(column)
    }

    pub(crate) fn text_or_null(&self, column: &'static str) -> Result<Option<String>, Error> {
        self.get(column)
    }

    pub(crate) fn millis(&self, column: &'static str) -> Result<Millis, Error> {
        self.int(column).map(Millis)
    }

    pub(crate) fn millis_or_null(&self, column: &'static str) -> Result<Option<Millis>, Error> {
        Ok(self.int_or_null(column)?.map(Millis))
    }

    /// A count or size, which the schema keeps from being negative.
    pub(crate) fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Error>
    where
        T::Error: std::error::Error + Send + Sync + 'static,
    {
        T::try_from(self.int(column)?).map_err(|source| unreadable(column, source))
    }

    /// A column whose text is an identifier, a UID or a word of an enum.
    pub(crate) fn parsed<T>(&self, column: &'static str) -> Result<T, Error>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.text(column)?.parse().map_err(|source| unreadable(column, source))
    }

    pub(crate) fn parsed_or_null<T>(&self, column: &'static str) -> Result<Option<T>, Error>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text = self.text_or_null(column)?;
        text.map(|text| text.parse().map_err(|source| unreadable(column, source))).transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        serde_json::from_str(&self.text(column)?).map_err(|source| unreadable(column, source))
    }

    pub(crate) fn json_or_null<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, Error> {
        let text = self.text_or_null(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|source| unreadable(column, source))).transpose()
    }

    fn get<'r, T>(&'r self, column: &'static str) -> Result<T, Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
        &'static str: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        let value = match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        };
        value.map_err(|source| unreadable(column, source))
    }
}

fn unreadable(column: impl Display, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unreadable { column: column.to_string(), source: Box::new(source) }
}
