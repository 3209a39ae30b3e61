//! Days in questions: `YYYY-MM-DD`, in UTC.

use std::time::Duration;

use ledger::Millis;
use time::{Date, macros::format_description};

use crate::error::{ApiError, ApiResult, Code};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When a day begins.
pub(crate) fn midnight(day: &str) -> ApiResult<Millis> {
    let parsed = Date::parse(day, format_description!("[year]-[month]-[day]"));
    let parsed =
        parsed.map_err(|_| ApiError::because(Code::InvalidParameter, "a day is written YYYY-MM-DD"))?;
    Ok(Millis(parsed.midnight().assume_utc().unix_timestamp() * 1000))
}

/// When a day has ended.
pub(crate) fn day_after(day: &str) -> ApiResult<Millis> {
    Ok(midnight(day)?.plus(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lasts_from_midnight_to_midnight() {
        assert_eq!(midnight("2023-11-14").unwrap(), Millis(1_699_920_000_000));
        assert_eq!(day_after("2023-11-14").unwrap(), midnight("2023-11-15").unwrap());
        for text in ["", "14.11.2023", "2023-13-01", "2023-11-14T00:00"] {
            assert_eq!(midnight(text).unwrap_err().code(), Code::InvalidParameter, "{text}");
        }
    }
}
