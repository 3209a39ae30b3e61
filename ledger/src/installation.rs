//! Which installation this is. The UIDs of results are derived from it, so that all nodes
//! of one database, and the same installation after a restore, derive the same ones.

use uuid::Uuid;

use crate::db::sql;
use crate::{Error, Ledger, Millis};

impl Ledger {
    /// The installation's id: `candidate` when none was adopted before, else the one that was.
    /// However many nodes ask at once, all get the same.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn adopt_installation(&self, candidate: Uuid, now: Millis) -> Result<Uuid, Error> {
        let mut tx = self.db.begin().await?;
        let statement =
            sql("insert into installation (only_row, installation_id, adopted_at) values (1, $1, $2)
              on conflict (only_row) do nothing");
        tx.execute(statement.bind(candidate.to_string()).bind(now)).await?;
        tx.commit().await?;
        let row = self.db.row(sql("select installation_id from installation")).await?;
        row.map_or(Ok(candidate), |row| row.parsed("installation_id"))
    }
}
