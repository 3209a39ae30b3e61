//! Reviews: what doctors decided about results.
//!
//! ```text
//! pending ──accept──▶ accepted ─┐
//!    │ ├────reject──▶ rejected ─┼──undo──▶ pending
//!    │ └───correct──▶ corrected ┘
//! ```
//!
//! Where four eyes are asked for, a first decision is an opinion until another doctor says the same:
//!
//! ```text
//! pending ──any──▶ awaiting-second ──the same, by another──▶ accepted | rejected | corrected
//!    ▲                  │     └──anything else, by another──▶ disputed
//!    └───undo, by the first──┘      undo, by anybody ──────────┘ (to pending)
//! ```
//!
//! The history of a result only grows: a decision is taken back by another row. Each row
//! says which one its doctor saw last, so that nobody decides over what he has not seen.

mod add;
mod standing;

use imaging::StudyUid;
use serde_json::Value;

use crate::db::{Record, Row, sql};
use crate::text_enum::text_enum;
use crate::{AccountId, Error, Ledger, Millis, ResultId, ReviewId};

pub use add::{NewReview, ReviewObjects, Reviewed};
pub use standing::{Eyes, Standing, standing};

text_enum! {
    pub enum ReviewState {
        /// No doctor has decided, or the decision was taken back.
        Pending = "pending",
        /// One doctor has decided, and nothing is final before another one agrees.
        AwaitingSecond = "awaiting-second",
        /// Two doctors do not agree.
        Disputed = "disputed",
        Accepted = "accepted",
        Rejected = "rejected",
        Corrected = "corrected",
    }
}

text_enum! {
    pub enum Decision {
        Accept = "accept",
        Reject = "reject",
        Correct = "correct",
        /// Takes back the decision before it.
        Undo = "undo",
    }
}

text_enum! {
    pub enum RejectionReason {
        Quality = "quality",
        PatientSafety = "patient-safety",
    }
}

/// What is decided, with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Accept,
    Reject(RejectionReason),
    /// What was given instead: a class, or which file.
    Correct(Value),
    Undo,
}

/// Who decides, as documents name him for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewer {
    pub account: AccountId,
    pub login: String,
    pub full_name: String,
    pub organization: String,
}

/// One row of a result's history.
#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    pub id: ReviewId,
    pub result: ResultId,
    pub study: StudyUid,
    /// Its place in the history, from 1 on.
    pub number: u32,
    pub verdict: Verdict,
    /// Where the result stood after it.
    pub leads_to: ReviewState,
    /// In the doctor's own words; gone when the study is forgotten.
    pub comment: Option<String>,
    pub reviewer: Reviewer,
    pub request_id: Option<String>,
    pub at: Millis,
}

impl Verdict {
    pub fn decision(&self) -> Decision {
        match self {
            Self::Accept => Decision::Accept,
            Self::Reject(_) => Decision::Reject,
            Self::Correct(_) => Decision::Correct,
            Self::Undo => Decision::Undo,
        }
    }

    /// Where a result stands after it, when nobody else has to agree.
    pub fn leads_to(&self) -> ReviewState {
        match self {
            Self::Accept => ReviewState::Accepted,
            Self::Reject(_) => ReviewState::Rejected,
            Self::Correct(_) => ReviewState::Corrected,
            Self::Undo => ReviewState::Pending,
        }
    }
}

impl ReviewState {
    /// Whether it is decided, by as many doctors as it takes.
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::AwaitingSecond | Self::Disputed => false,
            Self::Accepted | Self::Rejected | Self::Corrected => true,
        }
    }
}

impl Ledger {
    /// The history of a result, the first review first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reviews(&self, result: ResultId) -> Result<Vec<Review>, Error> {
        self.db.records(sql("select * from review where result_id = $1 order by number").bind(result)).await
    }
}

impl Record for Review {
    fn read(row: &Row) -> Result<Self, Error> {
        let verdict = read_verdict(row)?;
        Ok(Self {
            leads_to: row.parsed_or_null("leads_to")?.unwrap_or(verdict.leads_to()),
            id: row.parsed("review_id")?,
            result: row.parsed("result_id")?,
            study: row.parsed("study_uid")?,
            number: row.count("number")?,
            verdict,
            comment: row.text_or_null("comment")?,
            reviewer: Reviewer {
                account: row.parsed("account_id")?,
                login: row.text("login")?,
                full_name: row.text("full_name")?,
                organization: row.text("organization")?,
            },
            request_id: row.text_or_null("request_id")?,
            at: row.millis("at")?,
        })
    }
}

fn read_verdict(row: &Row) -> Result<Verdict, Error> {
    Ok(match row.parsed("decision")? {
        Decision::Accept => Verdict::Accept,
        Decision::Reject => Verdict::Reject(row.parsed("reason")?),
        Decision::Correct => Verdict::Correct(row.json("correction")?),
        Decision::Undo => Verdict::Undo,
    })
}
