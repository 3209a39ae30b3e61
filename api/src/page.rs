//! Pages of long lists: a cursor says after which row the next page begins.
//!
//! Rows that arrive meanwhile neither repeat nor hide one, and page 1000 costs what page 1
//! does. A cursor is opaque to clients and carries nothing but a position.

use ledger::PageRequest;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, ApiResult, Code};

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 500;
const CURSOR_LENGTH_MAX: usize = 256;

/// Which page is wanted.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// How many rows; 50 unless told, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    pub(crate) fn request(&self) -> ApiResult<PageRequest> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::because(Code::InvalidParameter, format!("limit is 1 to {LIMIT_MAX}")));
        }
        let Some(cursor) = &self.cursor else { return Ok(PageRequest::first(limit)) };
        let known = if cursor.len() <= CURSOR_LENGTH_MAX { PageRequest::after(limit, cursor) } else { None };
        known.ok_or_else(|| ApiError::because(Code::InvalidParameter, "the cursor was not given out here"))
    }
}

/// Some rows, newest first, and where the next ones are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub items: Vec<T>,
    /// Send as `cursor` to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    pub(crate) fn of<R>(page: ledger::Page<R>, view: impl Fn(R) -> T) -> Self {
        Self { items: page.rows.into_iter().map(view).collect(), next: page.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_cursors_and_silly_limits_are_refused() {
        for cursor in ["", "!", "e30", &"9".repeat(300)] {
            let query = PageQuery { cursor: Some(cursor.to_owned()), ..PageQuery::default() };
            assert_eq!(query.request().unwrap_err().code(), Code::InvalidParameter, "{cursor}");
        }
        for limit in [0, 501, u32::MAX] {
            let query = PageQuery { limit: Some(limit), ..PageQuery::default() };
            assert_eq!(query.request().unwrap_err().code(), Code::InvalidParameter, "{limit}");
        }
    }
}
