//! Sign-ins: what a browser holds, what renews it, and logins that work once.
//! Only hashes of their secrets are kept.

use crate::db::{Record, Row, sql};
use crate::text_enum::text_enum;
use crate::{AccountId, Error, Ledger, Millis, SessionId};

text_enum! {
    pub enum SessionKind {
        /// Shown with each request, until it expires.
        Access = "access",
        /// Exchanged, once, for a new access and a new refresh session.
        Refresh = "refresh",
        /// A login that works once, such as the one that the demo prints.
        OneTime = "one-time",
    }
}

#[derive(Debug, Clone)]
pub struct NewSession {
    pub account: AccountId,
    pub kind: SessionKind,
    /// SHA-256 of the secret, in hex.
    pub hash: String,
    pub expires_at: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub account: AccountId,
    pub kind: SessionKind,
    pub created_at: Millis,
    pub expires_at: Millis,
    pub used_at: Option<Millis>,
    pub revoked_at: Option<Millis>,
}

impl Ledger {
    /// # Errors
    /// When the database does not carry it out.
    pub async fn add_session(&self, new: &NewSession, now: Millis) -> Result<SessionId, Error> {
        let id = SessionId::generate();
        let statement =
            sql("insert into session (session_id, account_id, kind, hash, created_at, expires_at)
              values ($1, $2, $3, $4, $5, $6)")
            .bind(id)
            .bind(new.account)
            .bind(new.kind)
            .bind(&new.hash)
            .bind(now)
            .bind(new.expires_at);
        let mut tx = self.db.begin().await?;
        tx.execute(statement).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// The session, if it is neither revoked nor expired and its account is in use.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn session_by_hash(
        &self,
        kind: SessionKind,
        hash: &str,
        now: Millis,
    ) -> Result<Option<Session>, Error> {
        let statement = sql("select session.* from session join account on account.account_id = session.account_id
              where session.hash = $1 and session.kind = $2 and session.revoked_at is null and session.expires_at > $3
                and account.disabled_at is null")
            .bind(hash)
            .bind(kind)
            .bind(now);
        self.db.record(statement).await
    }

    /// The same for what works once: the second caller gets nothing, however close behind.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn use_session_once(
        &self,
        kind: SessionKind,
        hash: &str,
        now: Millis,
    ) -> Result<Option<Session>, Error> {
        let statement = sql("update session set used_at = $3
              where hash = $1 and kind = $2 and used_at is null and revoked_at is null and expires_at > $3
                and exists (select 1 from account
                            where account.account_id = session.account_id and account.disabled_at is null)
              returning *")
        .bind(hash)
        .bind(kind)
        .bind(now);
        let mut tx = self.db.begin().await?;
        let session = tx.record(statement).await?;
        tx.commit().await?;
        Ok(session)
    }

    /// # Errors
    /// When the database does not carry it out.
    pub async fn revoke_session(&self, id: SessionId, now: Millis) -> Result<(), Error> {
        let statement =
            sql("update session set revoked_at = $2 where session_id = $1 and revoked_at is null");
        let mut tx = self.db.begin().await?;
        tx.execute(statement.bind(id).bind(now)).await?;
        tx.commit().await
    }

    /// Signs an account out everywhere.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn revoke_sessions_of(&self, account: AccountId, now: Millis) -> Result<u64, Error> {
        let statement =
            sql("update session set revoked_at = $2 where account_id = $1 and revoked_at is null");
        let mut tx = self.db.begin().await?;
        let revoked = tx.execute(statement.bind(account).bind(now)).await?;
        tx.commit().await?;
        Ok(revoked)
    }

    /// Removes what expired before `before`.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn delete_expired_sessions(&self, before: Millis) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let deleted = tx.execute(sql("delete from session where expires_at < $1").bind(before)).await?;
        tx.commit().await?;
        Ok(deleted)
    }
}

impl Record for Session {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("session_id")?,
            account: row.parsed("account_id")?,
            kind: row.parsed("kind")?,
            created_at: row.millis("created_at")?,
            expires_at: row.millis("expires_at")?,
            used_at: row.millis_or_null("used_at")?,
            revoked_at: row.millis_or_null("revoked_at")?,
        })
    }
}
