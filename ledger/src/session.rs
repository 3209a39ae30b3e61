//! Sign-ins: what a browser holds, what renews it, and logins that work once.
//! Only hashes of their secrets are kept.

use crate::db::{Record, Row, Tx, sql};
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
    /// That of the account when it was looked at: what ended its sessions since ends this one.
    pub epoch: i64,
    pub kind: SessionKind,
    /// SHA-256 of the secret, in hex.
    pub hash: String,
    pub expires_at: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub account: AccountId,
    pub epoch: i64,
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
        let mut tx = self.db.begin().await?;
        if new.kind == SessionKind::Access {
            let signed_in = sql("update account set signed_in_at = $2 where account_id = $1");
            tx.execute(signed_in.bind(new.account).bind(now)).await?;
        }
        let id = insert(&mut tx, new, now).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Keeps a login that works once as the only sign-in of its account: those before are good for nothing.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn replace_sessions(&self, new: &NewSession, now: Millis) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        revoke_all(&mut tx, new.account, now).await?;
        let epoch = sql("select epoch from account where account_id = $1").bind(new.account);
        let epoch = tx.row(epoch).await?.map_or(Ok(new.epoch), |row| row.int("epoch"))?;
        insert(&mut tx, &NewSession { epoch, ..new.clone() }, now).await?;
        tx.commit().await
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
                and session.epoch = account.epoch and account.disabled_at is null")
            .bind(hash)
            .bind(kind)
            .bind(now);
        self.db.record(statement).await
    }

    /// Exchanges what works once for new sessions. False when it is not, or no longer, good for that: the second
    /// caller gets nothing, however close behind.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn exchange_session(
        &self,
        kind: SessionKind,
        hash: &str,
        new: &[NewSession],
        now: Millis,
    ) -> Result<bool, Error> {
        let statement = sql("update session set used_at = $3
              where hash = $1 and kind = $2 and used_at is null and revoked_at is null and expires_at > $3
                and exists (select 1 from account
                            where account.account_id = session.account_id and account.epoch = session.epoch
                              and account.disabled_at is null)")
        .bind(hash)
        .bind(kind)
        .bind(now);
        let mut tx = self.db.begin().await?;
        if kind == SessionKind::OneTime {
            let signed_in = sql("update account set signed_in_at = $2
                  where account_id = (select account_id from session where hash = $1 and kind = 'one-time')");
            tx.execute(signed_in.bind(hash).bind(now)).await?;
        }
        if tx.execute(statement).await? == 0 {
            return Ok(false);
        }
        for session in new {
            insert(&mut tx, session, now).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Ends these sessions, all of them or none.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn revoke_sessions(&self, ids: &[SessionId], now: Millis) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        for id in ids {
            let statement =
                sql("update session set revoked_at = $2 where session_id = $1 and revoked_at is null");
            tx.execute(statement.bind(*id).bind(now)).await?;
        }
        tx.commit().await
    }

    /// Signs an account out everywhere, and whoever is signing in to it just now.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn revoke_sessions_of(&self, account: AccountId, now: Millis) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let revoked = revoke_all(&mut tx, account, now).await?;
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

pub(crate) async fn insert(tx: &mut Tx, new: &NewSession, now: Millis) -> Result<SessionId, Error> {
    let id = SessionId::generate();
    let statement =
        sql("insert into session (session_id, account_id, epoch, kind, hash, created_at, expires_at)
          values ($1, $2, $3, $4, $5, $6, $7)")
        .bind(id)
        .bind(new.account)
        .bind(new.epoch)
        .bind(new.kind)
        .bind(&new.hash)
        .bind(now)
        .bind(new.expires_at);
    tx.execute(statement).await?;
    Ok(id)
}

/// Begins a new epoch of the account, in which its sessions are good for nothing; gives how many they were.
pub(crate) async fn revoke_all(tx: &mut Tx, account: AccountId, now: Millis) -> Result<u64, Error> {
    tx.execute(sql("update account set epoch = epoch + 1 where account_id = $1").bind(account)).await?;
    let revoke = sql("update session set revoked_at = $2 where account_id = $1 and revoked_at is null");
    tx.execute(revoke.bind(account).bind(now)).await
}

impl Record for Session {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("session_id")?,
            account: row.parsed("account_id")?,
            epoch: row.int("epoch")?,
            kind: row.parsed("kind")?,
            created_at: row.millis("created_at")?,
            expires_at: row.millis("expires_at")?,
            used_at: row.millis_or_null("used_at")?,
            revoked_at: row.millis_or_null("revoked_at")?,
        })
    }
}
