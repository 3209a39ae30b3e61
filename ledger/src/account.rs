//! Accounts of people and services. Passwords come in as argon2id hashes; hashing and comparing is done above.

use std::fmt;
use std::time::Duration;

use crate::db::{Record, Row, Statement, sql};
use crate::event::{self, NewEvent};
use crate::{AccountId, Error, Ledger, Millis, Role, Topic};

#[derive(Clone)]
pub struct NewAccount {
    pub name: String,
    pub role: Role,
    /// As a verifying observer is named in a report.
    pub full_name: String,
    pub organization: String,
    pub password_hash: String,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
    pub role: Role,
    pub full_name: String,
    pub organization: String,
    pub password_hash: String,
    /// Wrong passwords in a row.
    pub failed_logins: u32,
    pub locked_until: Option<Millis>,
    pub disabled_at: Option<Millis>,
    pub created_at: Millis,
}

/// When wrong passwords lock an account, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct LoginFailure {
    pub failures_max: u32,
    pub locked_for: Duration,
}

impl Account {
    pub fn is_locked(&self, now: Millis) -> bool {
        self.locked_until.is_some_and(|until| now < until)
    }
}

impl Ledger {
    /// # Errors
    /// [`Error::NameTaken`], or when the database does not carry it out.
    pub async fn add_account(&self, new: &NewAccount, by: &str, now: Millis) -> Result<AccountId, Error> {
        let id = AccountId::generate();
        let statement = sql("insert into account
                     (account_id, name, role, full_name, organization, password_hash, created_at)
              values ($1, $2, $3, $4, $5, $6, $7)")
        .bind(id)
        .bind(&new.name)
        .bind(new.role)
        .bind(&new.full_name)
        .bind(&new.organization)
        .bind(&new.password_hash)
        .bind(now);
        let event = NewEvent::new("account.added", now).by(by);
        let added = self.change_accounts(statement, event, &new.name).await;
        match added {
            Err(error) if error.is_taken() => Err(Error::NameTaken(new.name.clone())),
            added => added.map(|_| id),
        }
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, Error> {
        self.db.record(sql("select * from account where account_id = $1").bind(id)).await
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn account_by_name(&self, name: &str) -> Result<Option<Account>, Error> {
        self.db.record(sql("select * from account where name = $1").bind(name)).await
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn accounts(&self) -> Result<Vec<Account>, Error> {
        self.db.records(sql("select * from account order by name")).await
    }

    /// Sets a new password, unlocks the account, and ends its sessions. False when there is no such account.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_password(
        &self,
        name: &str,
        password_hash: &str,
        by: &str,
        now: Millis,
    ) -> Result<bool, Error> {
        let statement = sql(
            "update account set password_hash = $2, failed_logins = 0, locked_until = null where name = $1",
        );
        let event = NewEvent::new("account.password-set", now).by(by);
        let changed = self.change_accounts(statement.bind(name).bind(password_hash), event, name).await?;
        if let Some(account) = self.account_by_name(name).await? {
            self.revoke_sessions_of(account.id, now).await?;
        }
        Ok(changed)
    }

    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_role(&self, name: &str, role: Role, by: &str, now: Millis) -> Result<bool, Error> {
        let statement = sql("update account set role = $2 where name = $1").bind(name).bind(role);
        self.change_accounts(statement, NewEvent::new("account.role-set", now).by(by), name).await
    }

    /// Keeps the account from signing in, and ends its sessions. False when there is no such account.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn disable_account(&self, name: &str, by: &str, now: Millis) -> Result<bool, Error> {
        let statement = sql("update account set disabled_at = $2 where name = $1").bind(name).bind(now);
        let changed =
            self.change_accounts(statement, NewEvent::new("account.disabled", now).by(by), name).await?;
        if let Some(account) = self.account_by_name(name).await? {
            self.revoke_sessions_of(account.id, now).await?;
        }
        Ok(changed)
    }

    /// # Errors
    /// When the database does not carry it out.
    pub async fn enable_account(&self, name: &str, by: &str, now: Millis) -> Result<bool, Error> {
        let statement = sql(
            "update account set disabled_at = null, failed_logins = 0, locked_until = null where name = $1",
        );
        self.change_accounts(statement.bind(name), NewEvent::new("account.enabled", now).by(by), name).await
    }

    /// Counts a wrong password and locks the account at the limit; gives until when it is locked.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn login_failed(
        &self,
        id: AccountId,
        rule: LoginFailure,
        now: Millis,
    ) -> Result<Option<Millis>, Error> {
        let mut tx = self.db.begin().await?;
        let statement = sql("update account
              set locked_until = case when failed_logins + 1 >= $2 then $3 else locked_until end,
                  failed_logins = case when failed_logins + 1 >= $2 then 0 else failed_logins + 1 end
              where account_id = $1
              returning name, locked_until")
        .bind(id)
        .bind(rule.failures_max)
        .bind(now.plus(rule.locked_for));
        let Some(row) = tx.row(statement).await? else { return Ok(None) };
        let event = NewEvent::new("account.login-failed", now).by(row.text("name")?);
        event::append(&mut tx, event).await?;
        self.commit(tx, &[Topic::Events]).await?;
        row.millis_or_null("locked_until")
    }

    /// Forgets earlier wrong passwords.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn login_succeeded(&self, id: AccountId, now: Millis) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let statement = sql(
            "update account set failed_logins = 0, locked_until = null where account_id = $1 returning name",
        );
        if let Some(row) = tx.row(statement.bind(id)).await? {
            event::append(&mut tx, NewEvent::new("account.login", now).by(row.text("name")?)).await?;
        }
        self.commit(tx, &[Topic::Events]).await
    }

    async fn change_accounts(
        &self,
        statement: Statement,
        event: NewEvent,
        name: &str,
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        if tx.execute(statement).await? == 0 {
            return Ok(false);
        }
        event::append(&mut tx, event.detail(serde_json::json!({ "account": name }))).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(true)
    }
}

impl fmt::Debug for NewAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewAccount")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Account")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Record for Account {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("account_id")?,
            name: row.text("name")?,
            role: row.parsed("role")?,
            full_name: row.text("full_name")?,
            organization: row.text("organization")?,
            password_hash: row.text("password_hash")?,
            failed_logins: row.count("failed_logins")?,
            locked_until: row.millis_or_null("locked_until")?,
            disabled_at: row.millis_or_null("disabled_at")?,
            created_at: row.millis("created_at")?,
        })
    }
}
