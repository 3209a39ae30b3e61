//! Requests that must not be carried out twice, and how each was answered.
//!
//! ```text
//! open → answered | unknown        open → (given back: nothing was done)
//! ```
//!
//! A claim is on the disk before the deed, its answer before the caller is told. A process that dies
//! in between leaves its claim open: whether the deed was done nobody can say, so that it is never tried again.

use std::time::Duration;

use crate::db::{Record, Row, Tx, sql};
use crate::text_enum::text_enum;
use crate::{BootId, Error, Ledger, Millis, NodeId};

/// For so long a key is remembered.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys of one caller that are remembered at once.
const KEYS_MAX: u32 = 50_000;
/// The longest answer that is kept.
const BODY_MAX: usize = 64 << 10;
/// All answers to one caller that are kept.
const BODIES_MAX: i64 = 64 << 20;

text_enum! {
    pub enum ClaimState {
        Open = "open",
        Answered = "answered",
        Unknown = "unknown",
    }
}

/// A request that names a key.
#[derive(Debug, Clone)]
pub struct NewIdempotencyClaim<'a> {
    /// Whose key it is; keys of others are other keys.
    pub caller: &'a str,
    pub key: &'a str,
    pub method: &'a str,
    /// With what follows `?`.
    pub address: &'a str,
    pub body: &'a [u8],
    pub node: &'a NodeId,
    pub boot: &'a BootId,
}

/// The right to carry a request out, and the duty to say how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyClaim {
    id: String,
    caller: String,
}

/// How a request was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    pub status: u16,
    pub content_type: Option<String>,
    /// None where it was too long to be kept, or not to be.
    pub body: Option<String>,
}

/// What is known of a request's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Nothing: carry it out.
    First(IdempotencyClaim),
    /// It was carried out, and answered so.
    Answered(KeptAnswer),
    /// It is being carried out.
    Open,
    /// It was begun, and nobody can say whether it was carried out.
    Unknown,
    /// The key came with another request.
    OtherRequest,
    /// The caller has as many keys as are remembered.
    TooMany,
}

/// A claim that was there before.
struct Earlier {
    fingerprint: String,
    state: ClaimState,
    node: String,
    boot: String,
    claimed_at: Millis,
    answer: Option<KeptAnswer>,
}

impl NewIdempotencyClaim<'_> {
    fn id(&self) -> String {
        digest(&[self.caller.as_bytes(), self.key.as_bytes()])
    }

    fn fingerprint(&self) -> String {
        digest(&[self.method.as_bytes(), self.address.as_bytes(), self.body])
    }
}

/// Of parts that cannot run into each other.
fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().to_hex().to_string()
}

impl Ledger {
    /// Claims a request's key, or tells what became of it. A claim that is open for longer than `patience` is one
    /// whose process is gone.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn claim_idempotency_key(
        &self,
        new: &NewIdempotencyClaim<'_>,
        patience: Duration,
        now: Millis,
    ) -> Result<Claimed, Error> {
        let id = new.id();
        let mut tx = self.db.begin().await?;
        tx.execute(sql("delete from idempotency_claim where claimed_at < $1").bind(now.minus(KEPT_FOR)))
            .await?;
        if let Some(before) = earlier(&mut tx, &id).await? {
            tx.commit().await?;
            return Ok(before.told(new, patience, now));
        }
        let count = sql("select count(*) as keys from idempotency_claim where caller = $1").bind(new.caller);
        let known: Option<u32> = tx.row(count).await?.map(|row| row.count("keys")).transpose()?;
        if known.is_some_and(|known| known >= KEYS_MAX) {
            tx.commit().await?;
            return Ok(Claimed::TooMany);
        }
        let insert = sql("insert into idempotency_claim
                (claim_id, caller, fingerprint, node_id, boot_id, state, kept_bytes, claimed_at)
              values ($1, $2, $3, $4, $5, 'open', 0, $6) on conflict (claim_id) do nothing")
        .bind(&id)
        .bind(new.caller)
        .bind(new.fingerprint())
        .bind(new.node)
        .bind(new.boot)
        .bind(now);
        let is_first = tx.execute(insert).await? == 1;
        let before = if is_first { None } else { earlier(&mut tx, &id).await? };
        tx.commit().await?;
        match before {
            None if is_first => Ok(Claimed::First(IdempotencyClaim { id, caller: new.caller.to_owned() })),
            // Somebody was faster, and has given it back already.
            None => Ok(Claimed::Open),
            Some(before) => Ok(before.told(new, patience, now)),
        }
    }

    /// Keeps how the request was answered. A body that is too long, or one too many, is not kept.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn keep_answer(&self, claim: &IdempotencyClaim, answer: &KeptAnswer) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let sum = sql("select cast(coalesce(sum(kept_bytes), 0) as bigint) as kept from idempotency_claim
              where caller = $1")
        .bind(&claim.caller);
        let kept = tx.row(sum).await?.map(|row| row.int("kept")).transpose()?.unwrap_or(0);
        let length = |body: &String| i64::try_from(body.len()).unwrap_or(i64::MAX);
        let body =
            answer.body.as_ref().filter(|body| body.len() <= BODY_MAX && kept + length(body) <= BODIES_MAX);
        let update = sql("update idempotency_claim
              set state = 'answered', status = $2, content_type = $3, body = $4, kept_bytes = $5
              where claim_id = $1 and state = 'open'")
        .bind(&claim.id)
        .bind(u32::from(answer.status))
        .bind(answer.content_type.as_ref())
        .bind(body)
        .bind(body.map_or(0, length));
        tx.execute(update).await?;
        tx.commit().await
    }

    /// Notes that nobody can say whether the request was carried out.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn leave_unknown(&self, claim: &IdempotencyClaim) -> Result<(), Error> {
        let update =
            sql("update idempotency_claim set state = 'unknown' where claim_id = $1 and state = 'open'");
        let mut tx = self.db.begin().await?;
        tx.execute(update.bind(&claim.id)).await?;
        tx.commit().await
    }

    /// Gives the key back: the request was refused, and nothing was done.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn give_back_idempotency_key(&self, claim: &IdempotencyClaim) -> Result<(), Error> {
        let delete = sql("delete from idempotency_claim where claim_id = $1 and state = 'open'");
        let mut tx = self.db.begin().await?;
        tx.execute(delete.bind(&claim.id)).await?;
        tx.commit().await
    }
}

async fn earlier(tx: &mut Tx, id: &str) -> Result<Option<Earlier>, Error> {
    tx.record(sql("select * from idempotency_claim where claim_id = $1").bind(id)).await
}

impl Earlier {
    fn told(self, again: &NewIdempotencyClaim<'_>, patience: Duration, now: Millis) -> Claimed {
        if self.fingerprint != again.fingerprint() {
            return Claimed::OtherRequest;
        }
        let is_alive = self.is_alive(again, patience, now);
        match (self.state, self.answer) {
            (ClaimState::Answered, Some(answer)) => Claimed::Answered(answer),
            (ClaimState::Open, _) if is_alive => Claimed::Open,
            _ => Claimed::Unknown,
        }
    }

    /// Is the process that has it still at work, as far as this one can tell? A node has one process at a time.
    fn is_alive(&self, again: &NewIdempotencyClaim<'_>, patience: Duration, now: Millis) -> bool {
        let is_gone = self.node == again.node.as_str() && self.boot != again.boot.as_str();
        !is_gone && now.since(self.claimed_at) <= patience
    }
}

impl Record for Earlier {
    fn read(row: &Row) -> Result<Self, Error> {
        let status = row.int_or_null("status")?.and_then(|status| u16::try_from(status).ok());
        let (content_type, body) = (row.text_or_null("content_type")?, row.text_or_null("body")?);
        Ok(Self {
            fingerprint: row.text("fingerprint")?,
            state: row.parsed("state")?,
            node: row.text("node_id")?,
            boot: row.text("boot_id")?,
            claimed_at: row.millis("claimed_at")?,
            answer: status.map(|status| KeptAnswer { status, content_type, body }),
        })
    }
}
