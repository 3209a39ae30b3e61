//! Accounts of people and services. Passwords come in as argon2id hashes; hashing and comparing is done above.

use std::fmt;
use std::time::Duration;

use crate::db::{Record, Row, Statement, Tx, sql};
use crate::event::{self, NewEvent};
use crate::{AccountId, Error, Ledger, Millis, NewSession, Role, Topic, session};

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
    /// Whether somebody may know its password.
    pub has_password: bool,
    /// Wrong passwords in a row.
    pub failed_logins: u32,
    pub locked_until: Option<Millis>,
    pub disabled_at: Option<Millis>,
    pub created_at: Millis,
    /// The last time, with a password or a login that works once.
    pub signed_in_at: Option<Millis>,
    /// Moves on when the account is signed out everywhere; older sign-ins are good for nothing then.
    pub epoch: i64,
}

/// What is to be changed at once; what is `None` stays.
#[derive(Clone, Default)]
pub struct AccountChange {
    pub role: Option<Role>,
    /// Also unlocks the account, and ends its sessions.
    pub password_hash: Option<String>,
    /// Keeps the account from signing in, and ends its sessions; or opens and unlocks it.
    pub disabled: Option<bool>,
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

impl NewAccount {
    /// A statement with its values, in the order of the columns.
    fn bound_to(&self, insert: &'static str, id: AccountId, now: Millis) -> Statement {
        sql(insert)
            .bind(id)
            .bind(&self.name)
            .bind(self.role)
            .bind(&self.full_name)
            .bind(&self.organization)
            .bind(&self.password_hash)
            .bind(now)
    }
}

impl Ledger {
    /// # Errors
    /// [`Error::NameTaken`], or when the database does not carry it out.
    pub async fn add_account(&self, new: &NewAccount, by: &str, now: Millis) -> Result<AccountId, Error> {
        let id = AccountId::generate();
        let insert = "insert into account
                     (account_id, name, role, full_name, organization, password_hash, created_at)
              values ($1, $2, $3, $4, $5, $6, $7)";
        let mut tx = self.db.begin().await?;
        match tx.execute(new.bound_to(insert, id, now)).await {
            Err(error) if error.is_taken() => return Err(Error::NameTaken(new.name.clone())),
            added => added?,
        };
        self.announce(tx, new, by, now).await?;
        Ok(id)
    }

    async fn announce(&self, mut tx: Tx, new: &NewAccount, by: &str, now: Millis) -> Result<(), Error> {
        let event = NewEvent::new("account.added", now).by(by);
        event::append(&mut tx, event.detail(serde_json::json!({ "account": new.name }))).await?;
        self.commit(tx, &[Topic::Events]).await
    }

    /// Adds the first account of all, whose password nobody knows; nothing when there is one already.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn add_first_account(
        &self,
        new: &NewAccount,
        by: &str,
        now: Millis,
    ) -> Result<Option<AccountId>, Error> {
        let id = AccountId::generate();
        let insert = "insert into account
                     (account_id, name, role, full_name, organization, password_hash, has_password, created_at)
              select $1, $2, $3, $4, $5, $6, 0, $7 where not exists (select 1 from account)
              on conflict (name) do nothing";
        let mut tx = self.db.begin().await?;
        if tx.execute(new.bound_to(insert, id, now)).await? == 0 {
            return Ok(None);
        }
        self.announce(tx, new, by, now).await?;
        Ok(Some(id))
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
        let change =
            AccountChange { password_hash: Some(password_hash.to_owned()), ..AccountChange::default() };
        self.change_account(name, &change, by, now).await
    }

    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_role(&self, name: &str, role: Role, by: &str, now: Millis) -> Result<bool, Error> {
        let change = AccountChange { role: Some(role), ..AccountChange::default() };
        self.change_account(name, &change, by, now).await
    }

    /// Keeps the account from signing in, and ends its sessions. False when there is no such account.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn disable_account(&self, name: &str, by: &str, now: Millis) -> Result<bool, Error> {
        let change = AccountChange { disabled: Some(true), ..AccountChange::default() };
        self.change_account(name, &change, by, now).await
    }

    /// # Errors
    /// When the database does not carry it out.
    pub async fn enable_account(&self, name: &str, by: &str, now: Millis) -> Result<bool, Error> {
        let change = AccountChange { disabled: Some(false), ..AccountChange::default() };
        self.change_account(name, &change, by, now).await
    }

    /// Carries all of a change out, or nothing of it. False when there is no such account.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn change_account(
        &self,
        name: &str,
        change: &AccountChange,
        by: &str,
        now: Millis,
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        // Locks the account: of two who change it, one is last in everything.
        let lock = sql("update account set name = name where name = $1 returning *").bind(name);
        let Some(account) = tx.record::<Account>(lock).await? else { return Ok(false) };
        for (statement, kind) in change.statements(account.id, now) {
            tx.execute(statement).await?;
            let detail = serde_json::json!({ "account": name });
            event::append(&mut tx, NewEvent::new(kind, now).by(by).detail(detail)).await?;
        }
        if change.ends_sessions() {
            session::revoke_all(&mut tx, account.id, now).await?;
        }
        self.commit(tx, &[Topic::Events]).await?;
        Ok(true)
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

    /// Forgets earlier wrong passwords, and keeps the sessions of the sign-in.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn login_succeeded(
        &self,
        id: AccountId,
        sessions: &[NewSession],
        now: Millis,
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let statement = sql(
            "update account set failed_logins = 0, locked_until = null, signed_in_at = $2 where account_id = $1
              returning name",
        );
        if let Some(row) = tx.row(statement.bind(id).bind(now)).await? {
            event::append(&mut tx, NewEvent::new("account.login", now).by(row.text("name")?)).await?;
        }
        for new in sessions {
            session::insert(&mut tx, new, now).await?;
        }
        self.commit(tx, &[Topic::Events]).await
    }
}

impl AccountChange {
    /// Each with the kind of its event.
    fn statements(&self, account: AccountId, now: Millis) -> Vec<(Statement, &'static str)> {
        let role = self.role.map(|role| {
            let set = sql("update account set role = $2 where account_id = $1");
            (set.bind(account).bind(role), "account.role-set")
        });
        let password = self.password_hash.as_ref().map(|hash| {
            let set = sql("update account set password_hash = $2, has_password = 1, failed_logins = 0, locked_until = null
                  where account_id = $1");
            (set.bind(account).bind(hash), "account.password-set")
        });
        let disabled = self.disabled.map(|disabled| {
            if disabled {
                let set = sql("update account set disabled_at = $2 where account_id = $1");
                return (set.bind(account).bind(now), "account.disabled");
            }
            let set = sql("update account set disabled_at = null, failed_logins = 0, locked_until = null
                  where account_id = $1");
            (set.bind(account), "account.enabled")
        });
        [role, password, disabled].into_iter().flatten().collect()
    }

    fn ends_sessions(&self) -> bool {
        self.password_hash.is_some() || self.disabled == Some(true)
    }
}

impl fmt::Debug for AccountChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AccountChange")
            .field("role", &self.role)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
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
            has_password: row.int("has_password")? == 1,
            signed_in_at: row.millis_or_null("signed_in_at")?,
            epoch: row.int("epoch")?,
        })
    }
}
