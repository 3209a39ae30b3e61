//! An instance whose content was replaced: its row follows what the spool has in service now.

use std::collections::BTreeMap;

use serde_json::json;

use crate::event::{self, NewEvent};
use crate::intake::{self, NewInstance};
use crate::{Error, Ledger, Topic, instance, series};

impl Ledger {
    /// Records that the spool has `new` in service in the place of what the ledger knows under its UID.
    /// For readiness and jobs that is an arrival: what was computed from the old content is superseded.
    /// What the ledger does not know, or knows so already, is recorded as any other instance is.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn replace_instance(&self, new: &NewInstance) -> Result<(), Error> {
        let header = &new.header;
        let mut tx = self.db.begin().await?;
        let known = instance::known(&mut tx, &[&header.sop_instance]).await?.pop();
        let here = known.filter(|(_, known)| {
            known.study == header.study && known.series == header.series && known.digest != new.digest
        });
        match here {
            None => drop(intake::record(&mut tx, std::slice::from_ref(new)).await?),
            Some((uid, known)) => {
                intake::make_studies_known(&mut tx, &[new]).await?;
                instance::replace(&mut tx, new).await?;
                series::grow(&mut tx, &header.study, &header.series, 0, new.arrived_at).await?;
                let detail = json!({
                    "instance": uid,
                    "replaced_digest": known.digest,
                    "kept_digest": new.digest,
                    "association": new.association,
                });
                let known = BTreeMap::from([(uid, known)]);
                intake::note_carriers(&mut tx, std::slice::from_ref(new), &known).await?;
                let event = NewEvent::new("instance.replaced", new.arrived_at).study(&header.study);
                event::append(&mut tx, event.detail(detail)).await?;
            }
        }
        self.commit(tx, &[Topic::Intake]).await
    }
}
