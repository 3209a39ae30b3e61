//! PostgreSQL: how it is opened, and the SQL that only it speaks.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{Claiming, Dialect};
use crate::open::migration_error;
use crate::{Durability, OpenError};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// One of them listens, one announces; the rest work.
const CONNECTIONS_MAX: u32 = 16;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
const STATEMENT_CACHE: usize = 512;

pub(super) const BEGIN_UNFLUSHED: &str = "begin; set local synchronous_commit = off";

pub(super) static DIALECT: Dialect = Dialect {
    values_have_numbers: true,
    lock_study: "select revision from study where study_uid = $1 for no key update",
    lock_audit: Some("select pg_advisory_xact_lock(5715243)"),
    claim_job: Claiming::AtOnce(include_str!("../sql/claim_next.sql")),
    // Lanes: two senders may look at the same moment; the second finds the row locked and skips it,
    // and the later one of the lane is hidden behind the first, which is 'waiting' until the commit.
    claim_delivery: "
        update delivery
        set state = 'sending', lease_number = lease_number + 1, attempts = attempts + 1,
            node_id = $3, boot_id = $4, lease_until = $5, state_since = $2
        where delivery_id = (select d.delivery_id from delivery d
                             where d.destination = $1 and d.state = 'waiting' and d.not_before <= $2
                               and not exists (select 1 from delivery earlier
                                               where earlier.destination = d.destination and earlier.lane = d.lane
                                                 and earlier.delivery_id < d.delivery_id
                                                 and earlier.state in ('waiting', 'sending', 'parked'))
                             order by d.delivery_id
                             limit 1
                             for update skip locked)
        returning *",
    instances_named: "
        select sop_instance_uid, study_uid, series_uid, digest
        from instance
        where sop_instance_uid in (select json_array_elements_text($1::json))",
    set_aside_named: "
        select distinct sop_instance_uid
        from quarantined
        where reason in ('twin', 'misplaced') and (study_uid is null or study_uid = $2)
          and sop_instance_uid in (select json_array_elements_text($1::json))",
    insert_predictions: "
        insert into prediction (call_id, at, model_id, model_version, model_digest, model_name, patient_id,
                                doctor, actor, request_id, row_number, input, label, answer)
        select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
               (value ->> 0)::bigint, value ->> 1, (value ->> 2)::bigint, value ->> 3
        from json_array_elements($11::json)
        returning row_number, prediction_id",
};

pub(crate) async fn open(url: &str, durability: Durability) -> Result<PgPool, OpenError> {
    let options = PgConnectOptions::from_str(url).map_err(|_| OpenError::UnknownUrl)?;
    let server = server_of(&options);
    let options = with_durability(options, durability);
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(ACQUIRE_TIMEOUT);
    // The first connection outside the pool: its error is the server's own, not "timed out".
    let probe = sqlx::ConnectOptions::connect(&options).await.map_err(|source| refusal(&server, source))?;
    sqlx::Connection::close(probe).await.map_err(|source| refusal(&server, source))?;
    let pool = pool.connect_with(options).await.map_err(|source| refusal(&server, source))?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    MIGRATIONS.run(&pool).await.map_err(|error| migration_error(&server, known, error))?;
    Ok(pool)
}

/// A server may be set up to answer before it has flushed; under `power` ours must not.
fn with_durability(options: PgConnectOptions, durability: Durability) -> PgConnectOptions {
    let options = options
        .application_name("overread")
        .statement_cache_capacity(STATEMENT_CACHE)
        .options([("idle_in_transaction_session_timeout", "60s")]);
    match durability {
        Durability::Power => options.options([("synchronous_commit", "on")]),
        Durability::Process => options,
    }
}

/// Host, port and database for messages: never the user or the password.
fn server_of(options: &PgConnectOptions) -> String {
    format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or_default())
}

/// Sorts what the server complains about by its SQLSTATE.
fn refusal(server: &str, source: sqlx::Error) -> OpenError {
    let server = server.to_owned();
    let code = source.as_database_error().and_then(sqlx::error::DatabaseError::code).map(Cow::into_owned);
    match (code.as_deref(), &source) {
        // 28000 invalid authorization, 28P01 invalid password
        (Some("28000" | "28P01"), _) => OpenError::WrongPassword { server, source },
        // 3D000 invalid catalog name
        (Some("3D000"), _) => OpenError::NoDatabase { server, source },
        // 57P03 the server is starting up or shutting down, 53300 too many connections
        (Some("57P03" | "53300"), _)
        | (None, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_)) => {
            OpenError::Unreachable { server, source }
        }
        _ => OpenError::Other { place: server, source },
    }
}
