//! A deed and its rows of the audit trail, which are one transaction: neither is there without the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::db::Tx;
use crate::{AuditKey, Error, Ledger, NewAudit, audit};

/// What came of a deed.
#[derive(Debug)]
pub struct Noted<T> {
    pub outcome: T,
    /// The rows, where nothing was changed that they could have gone with.
    pub left: Vec<NewAudit>,
}

impl Ledger {
    /// Carries out `deed`, whose one transaction ends with `rows`.
    ///
    /// A row without a subject gets that of what the transaction makes.
    ///
    /// # Errors
    /// Those of the deed; [`Error::Unnoted`] when it begins a transaction after the one that was noted.
    pub async fn noted<T, E: From<Error>>(
        &self,
        key: &AuditKey,
        rows: Vec<NewAudit>,
        deed: impl AsyncFnOnce(Self) -> Result<T, E>,
    ) -> Result<Noted<T>, E> {
        let noting = Deed::new(key.clone(), rows);
        let outcome = deed(Self { db: self.db.doing(noting.clone()), ..self.clone() }).await?;
        Ok(Noted { outcome, left: noting.end()? })
    }
}

/// How far the rows of a deed are.
#[derive(Debug)]
enum Rows {
    Owed(Vec<NewAudit>),
    /// In a transaction that is being committed, or could not be.
    Written,
    Kept,
}

#[derive(Debug, Clone)]
pub(crate) struct Deed {
    key: AuditKey,
    rows: Arc<Mutex<Rows>>,
}

impl Deed {
    fn new(key: AuditKey, rows: Vec<NewAudit>) -> Self {
        Self { key, rows: Arc::new(Mutex::new(Rows::Owed(rows))) }
    }

    /// For a transaction that begins; one that is dropped has noted nothing, and another may follow.
    pub(crate) fn begin(&self) -> Result<Owed, Error> {
        match &*self.lock() {
            Rows::Owed(rows) => Ok(Owed { deed: self.clone(), rows: rows.clone() }),
            Rows::Written | Rows::Kept => Err(SECOND),
        }
    }

    fn end(&self) -> Result<Vec<NewAudit>, Error> {
        match std::mem::replace(&mut *self.lock(), Rows::Kept) {
            Rows::Owed(rows) => Ok(rows),
            Rows::Kept => Ok(Vec::new()),
            Rows::Written => Err(Error::Unnoted("its transaction was not committed")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SECOND: Error = Error::Unnoted("its rows are in an earlier transaction");

/// What one transaction owes the trail.
#[derive(Debug)]
pub(crate) struct Owed {
    deed: Deed,
    rows: Vec<NewAudit>,
}

/// Rows at the end of a transaction that is to be committed now.
#[must_use]
pub(crate) struct Written(Deed);

impl Owed {
    pub(crate) fn is_about(&mut self, subject: &str) {
        for row in self.rows.iter_mut().filter(|row| row.subject.is_empty()) {
            subject.clone_into(&mut row.subject);
        }
    }

    pub(crate) fn tells(&mut self, name: &str, value: &str) {
        for detail in self.rows.iter_mut().filter_map(|row| row.detail.as_object_mut()) {
            detail.insert(name.to_owned(), Value::from(value));
        }
    }

    /// Adds the rows, once for the deed.
    pub(crate) async fn write(self, tx: &mut Tx) -> Result<Written, Error> {
        if self.rows.iter().any(|row| row.subject.is_empty()) {
            return Err(Error::Unnoted("a row says nothing of what it is about"));
        }
        match std::mem::replace(&mut *self.deed.lock(), Rows::Written) {
            Rows::Owed(_) => {}
            Rows::Written | Rows::Kept => return Err(SECOND),
        }
        audit::append_all(tx, &self.deed.key, &self.rows).await?;
        Ok(Written(self.deed))
    }
}

impl Written {
    pub(crate) fn kept(self) {
        *self.0.lock() = Rows::Kept;
    }
}
