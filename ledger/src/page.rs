//! Pages of long lists, by key: a page is found as fast at the end as at the beginning.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// The most rows of one page, whatever was asked for.
const PAGE_ROWS_MAX: u32 = 1000;

/// Which part of a list is wanted; lists are newest first.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    limit: Option<u32>,
    after: Option<Position>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) at: Millis,
    pub(crate) id: String,
}

/// Rows, and the text that asks for those that follow them (none at the end).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub next: Option<String>,
}

impl PageRequest {
    pub fn first(limit: u32) -> Self {
        Self { limit: Some(limit), after: None }
    }

    /// Continues where the page that gave `next` ended; `None` when `next` is not such a text.
    pub fn after(limit: u32, next: &str) -> Option<Self> {
        let (at, id) = next.split_once('~')?;
        let after = Position { at: Millis(at.parse().ok()?), id: id.to_owned() };
        Some(Self { limit: Some(limit), after: Some(after) })
    }

    pub(crate) fn limit(&self) -> i64 {
        i64::from(self.limit.unwrap_or(100).clamp(1, PAGE_ROWS_MAX))
    }

    /// The bounds of a keyset query: rows before (`at`, `id`), both descending.
    pub(crate) fn before(&self) -> (i64, String) {
        match &self.after {
            Some(position) => (position.at.0, position.id.clone()),
            None => (i64::MAX, String::new()),
        }
    }
}

impl<T> Page<T> {
    /// Cuts the page off at the limit; callers ask the database for one row more.
    pub(crate) fn cut(mut rows: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> (Millis, String)) -> Self {
        let limit = usize::try_from(request.limit()).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(&key) } else { None };
        Self { rows, next: next.map(|(at, id)| format!("{at}~{id}")) }
    }
}
