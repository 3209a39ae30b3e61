//! Keys of programs: high-entropy secrets, of which only the SHA-256 is kept.

use crate::db::{Record, Row, sql};
use crate::event::{self, NewEvent};
use crate::{ApiKeyId, Error, Ledger, Millis, Role, Topic};

/// How exactly the last use is known; finer would make every request a write.
const USE_NOTED_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct NewApiKey {
    pub name: String,
    pub role: Role,
    /// What the key is limited to; empty is everything that its role may.
    pub scopes: Vec<String>,
    /// SHA-256 of the key, in hex.
    pub hash: String,
    pub expires_at: Option<Millis>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub role: Role,
    pub scopes: Vec<String>,
    pub created_by: String,
    pub created_at: Millis,
    pub expires_at: Option<Millis>,
    /// To the minute.
    pub used_at: Option<Millis>,
    pub revoked_at: Option<Millis>,
}

impl ApiKey {
    /// Whether it has neither run out nor been in use for so long that this has to be noted again.
    pub fn is_current(&self, now: Millis) -> bool {
        let is_noted = self.used_at.is_some_and(|used_at| now.since(used_at) < USE_NOTED_EVERY);
        is_noted && self.expires_at.is_none_or(|expires_at| expires_at > now)
    }
}

impl Ledger {
    /// # Errors
    /// When the database does not carry it out.
    pub async fn add_api_key(&self, new: &NewApiKey, by: &str, now: Millis) -> Result<ApiKeyId, Error> {
        let id = ApiKeyId::generate();
        let statement = sql(
            "insert into api_key (api_key_id, name, role, scopes, hash, created_by, created_at, expires_at)
              values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(&new.name)
        .bind(new.role)
        .bind_json(&new.scopes)?
        .bind(&new.hash)
        .bind(by)
        .bind(now)
        .bind(new.expires_at);
        let mut tx = self.db.begin().await?;
        tx.execute(statement).await?;
        let detail = serde_json::json!({ "key": id, "name": new.name, "role": new.role });
        event::append(&mut tx, NewEvent::new("key.added", now).by(by).detail(detail)).await?;
        tx.is_about(id);
        self.commit(tx, &[Topic::Events]).await?;
        Ok(id)
    }

    /// The key with this hash, if it is neither revoked nor expired; notes that it was used.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn api_key_by_hash(&self, hash: &str, now: Millis) -> Result<Option<ApiKey>, Error> {
        let statement = sql("select * from api_key
              where hash = $1 and revoked_at is null and (expires_at is null or expires_at > $2)");
        let key: Option<ApiKey> = self.db.record(statement.bind(hash).bind(now)).await?;
        if let Some(key) = &key
            && key.used_at.is_none_or(|used_at| now.since(used_at) >= USE_NOTED_EVERY)
        {
            let mut tx = self.db.begin_unflushed().await?;
            tx.execute(sql("update api_key set used_at = $2 where api_key_id = $1").bind(key.id).bind(now))
                .await?;
            tx.commit().await?;
        }
        Ok(key)
    }

    /// All keys, revoked ones included.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, Error> {
        self.db.records(sql("select * from api_key order by created_at, api_key_id")).await
    }

    /// False when there is no such key, or it is revoked already.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn revoke_api_key(&self, id: ApiKeyId, by: &str, now: Millis) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let statement =
            sql("update api_key set revoked_at = $2 where api_key_id = $1 and revoked_at is null");
        if tx.execute(statement.bind(id).bind(now)).await? == 0 {
            return Ok(false);
        }
        let detail = serde_json::json!({ "key": id });
        event::append(&mut tx, NewEvent::new("key.revoked", now).by(by).detail(detail)).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(true)
    }
}

impl Record for ApiKey {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("api_key_id")?,
            name: row.text("name")?,
            role: row.parsed("role")?,
            scopes: row.json("scopes")?,
            created_by: row.text("created_by")?,
            created_at: row.millis("created_at")?,
            expires_at: row.millis_or_null("expires_at")?,
            used_at: row.millis_or_null("used_at")?,
            revoked_at: row.millis_or_null("revoked_at")?,
        })
    }
}
