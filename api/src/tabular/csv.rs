//! CSV in, CSV out, a thousand rows at a time: whatever the length, a few rows are in memory.
//!
//! RFC 4180: the first line names the columns, a field may stand in double quotes. A row
//! that cannot be used is answered in its place with the reason. The first rows are answered
//! before the status is, so that a file that is no table gets a refusal.

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use inference::Outcome;
use serde_json::json;
use std::io;

use super::{
    body::Room,
    run::{Question, ordered, spec_of},
    table::{Cell, ROWS_MAX, Table},
};
use crate::{
    auth::Caller,
    error::{ApiError, ApiResult, Code},
    request_id::RequestId,
    state::AppState,
};

const CSV: &str = "text/csv; charset=utf-8";
const HEADER: &str = "row,probability,label,threshold,model,warnings,problem\r\n";
const ROWS_AT_ONCE: usize = 1000;
/// Fewer rows of a wide table.
const VALUES_AT_ONCE: usize = 200_000;
/// A line that is longer holds no row of numbers.
const LINE_MAX: usize = 1 << 20;

/// What `tabular::Question` needs, owned: the answer outlives the handler.
pub(crate) struct OwnedQuestion {
    pub(crate) state: AppState,
    pub(crate) caller: Caller,
    pub(crate) request: RequestId,
    pub(crate) model: std::sync::Arc<inference::Model>,
    pub(crate) model_name: String,
    pub(crate) patient_id: Option<String>,
    pub(crate) call: ledger::CallId,
}

impl OwnedQuestion {
    fn borrowed(&self) -> Question<'_> {
        Question {
            state: &self.state,
            caller: &self.caller,
            request: &self.request,
            model: std::sync::Arc::clone(&self.model),
            model_name: self.model_name.clone(),
            patient_id: self.patient_id.clone(),
            call: self.call,
            room: Room::default(),
        }
    }
}

/// Answers a CSV body row by row.
pub(crate) async fn answer_csv(question: OwnedQuestion, body: Body, bytes_max: usize) -> ApiResult<Response> {
    let mut work = Work {
        question,
        lines: Lines { chunks: body.into_data_stream(), buffer: Vec::new(), left: bytes_max, ended: false },
        columns: Vec::new(),
        table: Table::default(),
        answered: 0,
    };
    work.read_header().await?;
    let first = work.part().await?;
    let Some(first) = first else {
        return Err(ApiError::because(Code::BadRequest, "the file has a first line and no rows"));
    };
    let head = stream::once(async move { Ok(Bytes::from(format!("{HEADER}{first}"))) });
    let rest = stream::unfold(Some(work), |work| async move {
        let mut work = work?;
        match work.part().await {
            Ok(Some(part)) => Some((Ok(Bytes::from(part)), Some(work))),
            Ok(None) => None,
            // The status is gone: the transfer breaks off, and the log says why.
            Err(refusal) => {
                tracing::warn!(refusal = ?refusal, "a CSV answer was broken off after {} rows", work.answered);
                Some((Err(io::Error::other("the answer was broken off")), None))
            }
        }
    });
    let body = Body::from_stream(head.chain(rest));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(CSV))], body).into_response())
}

struct Work {
    question: OwnedQuestion,
    lines: Lines,
    /// Of each column of the file, its number in the table.
    columns: Vec<Option<u32>>,
    table: Table,
    answered: usize,
}

impl Work {
    async fn read_header(&mut self) -> ApiResult<()> {
        let Some(line) = self.lines.next().await? else {
            return Err(ApiError::because(Code::BadRequest, "the file is empty"));
        };
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        for name in fields(line).ok_or_else(|| bad_line(1))? {
            let column = self.table.column(name.trim());
            self.columns
                .push(column.map_err(|error| ApiError::because(Code::BodyTooLarge, error.to_string()))?);
        }
        Ok(())
    }

    /// The answers to the next rows; none at the end.
    async fn part(&mut self) -> ApiResult<Option<String>> {
        self.table.clear();
        let rows_at_once = self.rows_at_once()?;
        while self.table.rows() < rows_at_once {
            let Some(line) = self.lines.next().await? else { break };
            if line.is_empty() {
                continue;
            }
            if self.answered + self.table.rows() == ROWS_MAX {
                let detail = format!("at most {ROWS_MAX} rows in one request");
                return Err(ApiError::because(Code::BodyTooLarge, detail));
            }
            self.add(&line)?;
        }
        if self.table.rows() == 0 {
            return Ok(None);
        }
        self.answer().await.map(Some)
    }

    fn rows_at_once(&self) -> ApiResult<usize> {
        let width = self.columns.len().max(spec_of(&self.question.model)?.features.len());
        Ok(rows_at_once(width))
    }

    fn add(&mut self, line: &str) -> ApiResult<()> {
        let number = self.answered + self.table.rows() + 2;
        let fields = fields(line).filter(|fields| fields.len() <= self.columns.len());
        let fields = fields.ok_or_else(|| bad_line(number))?;
        let too_much =
            |error: super::table::TooMuch| ApiError::because(Code::BodyTooLarge, error.to_string());
        for (column, field) in self.columns.iter().zip(&fields) {
            if let Some(column) = column {
                self.table.push(*column, cell(field)).map_err(too_much)?;
            }
        }
        self.table.end_row().map_err(too_much)
    }

    async fn answer(&mut self) -> ApiResult<String> {
        let rows = ordered(&self.question.model, &self.table)?;
        let question = self.question.borrowed();
        let first = self.answered == 0;
        let audit = first.then(|| {
            question.audit(json!({ "format": "csv", "patient": self.question.patient_id.is_some() }))
        });
        let count = rows.len();
        let answered = question.answer_part(rows, self.answered, audit).await?;
        let mut answered = answered.map_err(ApiError::internal)?;
        answered.numbers()?;
        let model = self.question.model.package().full_name();
        let mut text = String::new();
        for (index, answer) in answered.answers.iter().enumerate() {
            text.push_str(&line(self.answered + index + 1, answer, &model));
        }
        self.answered += count;
        Ok(text)
    }
}

fn rows_at_once(width: usize) -> usize {
    (VALUES_AT_ONCE / width.max(1)).clamp(1, ROWS_AT_ONCE)
}

fn bad_line(number: usize) -> ApiError {
    let detail = format!("line {number} is no row of this table: a quote is open, or it has too many fields");
    ApiError::because(Code::BadRequest, detail)
}

fn line(number: usize, answer: &Outcome<inference::Prediction>, model: &str) -> String {
    match answer {
        Outcome::Findings(found) => format!(
            "{number},{},{},{},{model},{},\r\n",
            found.probability,
            found.label,
            found.threshold,
            quoted(&found.warnings.join("; "))
        ),
        Outcome::NotAnalysed { reason } => format!("{number},,,,{model},,{}\r\n", quoted(reason)),
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// Nothing, or what several programs write for it, is missing.
fn cell(field: &str) -> Cell {
    let field = field.trim();
    if field.is_empty() || ["nan", "na", "null"].iter().any(|word| field.eq_ignore_ascii_case(word)) {
        return Cell::Missing;
    }
    match field.parse::<f64>() {
        Ok(value) if value.is_finite() => Cell::Number(value),
        Ok(_) | Err(_) => Cell::NotANumber,
    }
}

/// The fields of a line; none when a quote is left open or closed in the middle of a field.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(inside) => quoted_field(inside)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

/// A field up to its closing quote, two of which stand for one; and what is behind it.
fn quoted_field(inside: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = inside;
    loop {
        let end = rest.find('"')?;
        field.push_str(&rest[..end]);
        let behind = &rest[end + 1..];
        match behind.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Some((field, behind)),
        }
    }
}

/// The lines of a body, as they come. A quoted field goes over no line: no number does.
struct Lines {
    chunks: BodyDataStream,
    buffer: Vec<u8>,
    left: usize,
    ended: bool,
}

impl Lines {
    async fn next(&mut self) -> ApiResult<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.drain(..=end).collect::<Vec<_>>();
                return text(&line[..end]).map(Some);
            }
            if self.buffer.len() > LINE_MAX {
                let detail = format!("a line is longer than {LINE_MAX} bytes");
                return Err(ApiError::because(Code::BodyTooLarge, detail));
            }
            if self.ended {
                let last = std::mem::take(&mut self.buffer);
                return if last.is_empty() { Ok(None) } else { text(&last).map(Some) };
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> ApiResult<()> {
        let Some(chunk) = self.chunks.next().await else {
            self.ended = true;
            return Ok(());
        };
        let chunk = chunk.map_err(|error| {
            ApiError::because(Code::BadRequest, "the body ended too early").caused_by(error)
        })?;
        self.left = self.left.checked_sub(chunk.len()).ok_or_else(|| ApiError::new(Code::BodyTooLarge))?;
        self.buffer.extend_from_slice(&chunk);
        Ok(())
    }
}

fn text(line: &[u8]) -> ApiResult<String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line);
    text.map(str::to_owned).map_err(|_| ApiError::because(Code::BadRequest, "the file is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expect: Option<&[&str]>) {
        assert_eq!(
            fields(line),
            expect.map(|expect| expect.iter().map(|field| (*field).to_owned()).collect())
        );
    }

    #[test]
    fn fields_are_those_of_rfc_4180() {
        check("a,b,,c", Some(&["a", "b", "", "c"]));
        check("", Some(&[""]));
        check("\"a,b\",\"say \"\"no\"\"\",3", Some(&["a,b", "say \"no\"", "3"]));
        check("\"open", None);
        check("\"a\"b", None);
    }

    #[test]
    fn a_wide_table_is_answered_in_smaller_parts() {
        assert_eq!(rows_at_once(0), ROWS_AT_ONCE);
        assert_eq!(rows_at_once(11), ROWS_AT_ONCE);
        assert_eq!(rows_at_once(320), 625);
        assert_eq!(rows_at_once(20_000), 10);
        assert_eq!(rows_at_once(usize::MAX), 1);
    }

    #[test]
    fn missing_values_have_several_names_and_infinity_is_none_of_them() {
        for text in ["", " ", "NaN", "na", "NULL"] {
            assert_eq!(cell(text), Cell::Missing, "{text}");
        }
        assert_eq!(cell(" 6.5e1 "), Cell::Number(65.0));
        for text in ["inf", "-infinity", "1,5", "=1+1", "65 years"] {
            assert_eq!(cell(text), Cell::NotANumber, "{text}");
        }
    }
}
