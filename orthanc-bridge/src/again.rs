//! Fetches instances again whose files were damaged on our disk, whichever door they came through first.

use std::collections::{BTreeMap, BTreeSet};

use admission::Aside;
use imaging::{SopInstanceUid, StudyUid};
use ledger::{Ending, Millis, WantedAgain};
use spool::InstanceKey;
use tracing::{info, warn};

use crate::{
    intake::{Intake, IntakeError},
    orthanc::Instance,
};

/// Instances that are asked for in one go.
const WANTED_MAX: u32 = 1000;

impl Intake {
    /// Fetches what this Orthanc has of the instances that are wanted again. True when some are still wanted.
    pub(crate) async fn fetch_again(&self) -> Result<bool, IntakeError> {
        let mut by_study: BTreeMap<StudyUid, Vec<WantedAgain>> = BTreeMap::new();
        for wanted in self.ledger.wanted_again(WANTED_MAX).await? {
            by_study.entry(wanted.study.clone()).or_default().push(wanted);
        }
        let mut are_left = false;
        for (study, mut wanted) in by_study {
            // Their sender may have been quicker.
            self.settle_wanted(&mut wanted).await?;
            if wanted.is_empty() {
                continue;
            }
            match self.fetch_wanted(&study, &wanted).await {
                Err(error) if !error.is_about_what_was_asked() => return Err(error),
                Err(error) => {
                    warn!(study.uid = %study, %error, "Orthanc {} cannot give what was damaged of study {study}", self.source);
                }
                Ok(()) => {}
            }
            self.settle_wanted(&mut wanted).await?;
            are_left |= !wanted.is_empty();
        }
        Ok(are_left)
    }

    async fn fetch_wanted(&self, study: &StudyUid, wanted: &[WantedAgain]) -> Result<(), IntakeError> {
        let offered = self.offered_of(study, wanted).await?;
        if offered.is_empty() {
            return Ok(());
        }
        let count = offered.len();
        let association = self.open_association().await?;
        let fetched = self.download_all(association, offered).await;
        let ending = if fetched.is_ok() { Ending::Released } else { Ending::Aborted };
        self.ledger.end_association(association, ending, Millis::now()).await?;
        fetched?;
        info!(study.uid = %study, source = %self.source, instances = count, "fetched {count} damaged instances of study {study} again");
        Ok(())
    }

    async fn offered_of(
        &self,
        study: &StudyUid,
        wanted: &[WantedAgain],
    ) -> Result<Vec<Instance>, IntakeError> {
        let uids: BTreeSet<&SopInstanceUid> = wanted.iter().map(|wanted| &wanted.sop_instance).collect();
        let mut offered = Vec::new();
        for part in self.parts(study).await? {
            for series in &part.series {
                let instances = self.orthanc.instances_of_series(series).await?;
                offered.extend(instances.into_iter().filter(|instance| uids.contains(&instance.uid)));
            }
        }
        Ok(offered)
    }

    /// Leaves in `wanted` what is not there as it is known; the rest is not asked for any more.
    async fn settle_wanted(&self, wanted: &mut Vec<WantedAgain>) -> Result<(), IntakeError> {
        let mut settled = Vec::new();
        for one in std::mem::take(wanted) {
            match self.is_here(&one).await? {
                true => settled.push(one.sop_instance),
                false => wanted.push(one),
            }
        }
        if !settled.is_empty() {
            self.ledger.no_longer_wanted(&settled).await?;
        }
        Ok(())
    }

    async fn is_here(&self, wanted: &WantedAgain) -> Result<bool, IntakeError> {
        let key = InstanceKey {
            study: wanted.study.clone(),
            series: wanted.series.clone(),
            sop_instance: wanted.sop_instance.clone(),
        };
        let spool = self.spool.clone();
        let reading = key.clone();
        let read = tokio::task::spawn_blocking(move || {
            let found = spool.find(&reading).ok()?;
            spool.verify(&reading).ok()?;
            Some(found.digest.to_string())
        });
        match read.await? {
            Some(digest) if digest == wanted.digest => Ok(true),
            // Nothing may be computed with it.
            Some(_) => {
                let aside = Aside::other_than_known(&self.spool, key).await.map_err(IntakeError::Disk)?;
                if let Some(aside) = aside {
                    aside.record(&self.ledger, None).await?;
                }
                Ok(false)
            }
            None => Ok(false),
        }
    }
}
