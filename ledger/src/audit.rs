//! The audit trail: who saw or did what. Each row carries a MAC over itself and the MAC
//! of the row before, made with a key that is not in the database: whoever can write to
//! the database can neither change a row, nor take one out, nor add one in between.
//!
//! Cutting rows off the end, or writing the whole trail anew with a stolen key, shows only
//! against heads that were noted elsewhere; [`Ledger::audit_head`] gives one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::db::{Arg, Insert, Record, Row, Tx, sql};
use crate::{Error, Ledger, Millis, Page, PageRequest};

/// What the MACs are made with; kept in a file outside the database.
#[derive(Clone)]
pub struct AuditKey(Hmac<Sha256>);

#[derive(Debug, Clone, PartialEq)]
pub struct NewAudit {
    pub at: Millis,
    pub actor: String,
    /// Such as `result.accept`.
    pub action: String,
    /// What it was done to, such as a study's UID.
    pub subject: String,
    pub request_id: Option<String>,
    pub detail: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    pub seq: i64,
    pub at: Millis,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub request_id: Option<String>,
    pub detail: Value,
    pub mac: String,
}

/// What is wrong with the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditProblem {
    #[error("row {seq} of the audit trail is missing")]
    Missing { seq: i64 },
    #[error("row {seq} of the audit trail was changed, or the key is another one")]
    Altered { seq: i64 },
    #[error("the audit trail ends with row {last}; row {anchored} was there once, and was cut off")]
    Cut { last: i64, anchored: i64 },
    #[error("row {seq} of the audit trail is not the one that was anchored: the trail was written anew")]
    Rewritten { seq: i64 },
}

/// The trail's last row at some moment, as it was noted outside the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    pub seq: i64,
    pub mac: String,
}

/// Which rows are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub actor: Option<String>,
    /// This deed, or all of a family: `auth.` is every sign-in.
    pub action: Option<String>,
    pub subject: Option<String>,
    /// At that moment or later.
    pub from: Option<Millis>,
    /// Before that moment.
    pub before: Option<Millis>,
}

/// Rows that are checked at a time.
const CHECKED_AT_ONCE: u32 = 1000;

impl AuditKey {
    pub fn new(key: impl Into<Vec<u8>>) -> Self {
        Self(Hmac::new_from_slice(&key.into()).expect("HMAC takes keys of any length"))
    }

    /// A MAC over `parts`, one after another. No JSON begins like them.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        parts.iter().fold(self.0.clone(), Mac::chain_update).finalize().into_bytes().into()
    }

    fn mac(&self, previous: &str, seq: i64, row: &NewAudit) -> Result<String, Error> {
        // An array of JSON values: no field can run into the next one.
        let signed = serde_json::to_vec(&(
            previous,
            seq,
            row.at,
            &row.actor,
            &row.action,
            &row.subject,
            &row.request_id,
            &row.detail,
        ))
        .map_err(Error::Json)?;
        Ok(hex(&self.sign(&[&signed])))
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AuditKey(redacted)")
    }
}

impl Ledger {
    /// Adds a row at the end of the trail.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn add_audit(&self, key: &AuditKey, new: &NewAudit) -> Result<i64, Error> {
        let mut tx = self.db.begin().await?;
        let seq = append(&mut tx, key, new).await?;
        tx.commit().await?;
        Ok(seq)
    }

    /// The rows behind `seq`, oldest first, for a reader that must not miss any: numbers have no gaps, and a row is seen
    /// when all before it are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit_after(&self, seq: i64, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let statement = sql("select * from audit where seq > $1 order by seq limit $2");
        self.db.records(statement.bind(seq).bind(limit)).await
    }

    /// The trail's end, to be noted elsewhere; nothing while the trail is empty.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit_head(&self) -> Result<Option<AuditHead>, Error> {
        self.settle().await?;
        let last = self.db.record::<AuditRow>(sql("select * from audit order by seq desc limit 1")).await?;
        Ok(last.map(|last| AuditHead { seq: last.seq, mac: last.mac }))
    }

    /// Checks the whole trail against the key and against the ends that were noted elsewhere;
    /// gives the number of rows, or the first problem.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn verify_audit(
        &self,
        key: &AuditKey,
        anchors: &[AuditHead],
    ) -> Result<Result<i64, AuditProblem>, Error> {
        self.settle().await?;
        let anchored: BTreeMap<i64, BTreeSet<&str>> =
            anchors.iter().fold(BTreeMap::new(), |mut all, head| {
                all.entry(head.seq).or_insert_with(BTreeSet::new).insert(&head.mac);
                all
            });
        let (mut seq, mut previous) = (0, String::new());
        loop {
            let statement = sql("select * from audit where seq > $1 order by seq limit $2");
            let rows: Vec<AuditRow> = self.db.records(statement.bind(seq).bind(CHECKED_AT_ONCE)).await?;
            if rows.is_empty() {
                let beyond = anchored.last_key_value().map_or(0, |(anchored, _)| *anchored);
                return Ok(if beyond > seq {
                    Err(AuditProblem::Cut { last: seq, anchored: beyond })
                } else {
                    Ok(seq)
                });
            }
            for row in rows {
                if row.seq != seq + 1 {
                    return Ok(Err(AuditProblem::Missing { seq: seq + 1 }));
                }
                if !row.is_signed_with(key, &previous)? {
                    return Ok(Err(AuditProblem::Altered { seq: row.seq }));
                }
                if anchored.get(&row.seq).is_some_and(|macs| macs.iter().any(|mac| **mac != *row.mac)) {
                    return Ok(Err(AuditProblem::Rewritten { seq: row.seq }));
                }
                (seq, previous) = (row.seq, row.mac);
            }
        }
    }

    /// A page of the trail, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditRow>, Error> {
        self.settle().await?;
        let (_, before) = page.before();
        let family = filter.action.as_ref().filter(|action| action.ends_with('.'));
        let action = filter.action.as_ref().filter(|action| !action.ends_with('.'));
        let statement = sql("select * from audit
              where seq < $1 and ($3 is null or actor = $3) and ($4 is null or action = $4)
                and ($5 is null or substr(action, 1, length($5)) = $5) and ($6 is null or subject = $6)
                and ($7 is null or at >= $7) and ($8 is null or at < $8)
              order by seq desc limit $2")
        .bind(before.parse().unwrap_or(i64::MAX))
        .bind(page.limit() + 1)
        .bind(filter.actor.as_ref())
        .bind(action)
        .bind(family)
        .bind(filter.subject.as_ref())
        .bind(filter.from)
        .bind(filter.before);
        let rows = self.db.records(statement).await?;
        Ok(Page::cut(rows, page, |row: &AuditRow| (row.at, row.seq.to_string())))
    }
}

/// Adds a row at the end of the trail, in the transaction of the deed. The last thing that a
/// transaction does: until its commit nobody else adds one.
pub(crate) async fn append(tx: &mut Tx, key: &AuditKey, new: &NewAudit) -> Result<i64, Error> {
    append_all(tx, key, [new]).await
}

/// Adds rows in their order; gives the last number. When, see [`append`].
pub(crate) async fn append_all<'a>(
    tx: &mut Tx,
    key: &AuditKey,
    rows: impl IntoIterator<Item = &'a NewAudit>,
) -> Result<i64, Error> {
    if let Some(lock) = tx.dialect().lock_audit {
        tx.rows(sql(lock)).await?;
    }
    let last = tx.record::<AuditRow>(sql("select * from audit order by seq desc limit 1")).await?;
    let (mut seq, mut previous) = last.map_or((0, String::new()), |last| (last.seq, last.mac));
    let mut values = Vec::new();
    for row in rows {
        seq += 1;
        previous = key.mac(&previous, seq, row)?;
        values.push(columns(seq, row, &previous)?);
    }
    tx.insert(&INTO_AUDIT, values).await?;
    Ok(seq)
}

const INTO_AUDIT: Insert<8> =
    Insert { into: "insert into audit (seq, at, actor, action, subject, request_id, detail, mac)", then: "" };

fn columns(seq: i64, row: &NewAudit, mac: &str) -> Result<[Arg; 8], Error> {
    let detail = serde_json::to_string(&row.detail).map_err(Error::Json)?;
    Ok([
        seq.into(),
        row.at.into(),
        (&row.actor).into(),
        (&row.action).into(),
        (&row.subject).into(),
        row.request_id.as_ref().into(),
        detail.into(),
        mac.into(),
    ])
}

impl AuditRow {
    fn is_signed_with(&self, key: &AuditKey, previous: &str) -> Result<bool, Error> {
        let signed = NewAudit {
            at: self.at,
            actor: self.actor.clone(),
            action: self.action.clone(),
            subject: self.subject.clone(),
            request_id: self.request_id.clone(),
            detail: self.detail.clone(),
        };
        Ok(key.mac(previous, self.seq, &signed)? == self.mac)
    }
}

impl Record for AuditRow {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            seq: row.int("seq")?,
            at: row.millis("at")?,
            actor: row.text("actor")?,
            action: row.text("action")?,
            subject: row.text("subject")?,
            request_id: row.text_or_null("request_id")?,
            detail: row.json("detail")?,
            mac: row.text("mac")?,
        })
    }
}
