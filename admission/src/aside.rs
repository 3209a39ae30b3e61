//! What was taken in but cannot be used: a file in quarantine, and the row that says so.

use std::{io, path::PathBuf};

use imaging::{Header, SopInstanceUid, StudyUid, is_own_result};
use ledger::{AssociationId, Ledger, Millis, NewQuarantined, QuarantineReason};
use spool::{Found, InstanceKey, Spool, identity_differs};

const ELSEWHERE: &str = "an instance of another study or series has this SOP Instance UID already";
const OTHER: &str = "another data set is known under this SOP Instance UID, whose file was lost";
const DAMAGED: &str = "it was damaged on the disk: length or digest are not those that it was kept with";

/// A file that was put into quarantine.
#[derive(Debug)]
pub struct Aside {
    quarantined: PathBuf,
    reason: QuarantineReason,
    detail: String,
    study: Option<StudyUid>,
    pub(crate) sop_instance: Option<SopInstanceUid>,
    /// Whether the study is held until a person has decided.
    holds: bool,
}

impl Aside {
    /// Another data set stays in service under its UID.
    pub(crate) fn twin(quarantined: PathBuf, second: &Header, identity_differs: bool) -> Self {
        Self {
            quarantined,
            reason: QuarantineReason::Twin,
            detail: "another data set has this SOP Instance UID already".to_owned(),
            study: Some(second.study.clone()),
            sop_instance: Some(second.sop_instance.clone()),
            holds: identity_differs,
        }
    }

    /// It was in service until another data set took its place under its UID.
    pub(crate) fn replaced(quarantined: PathBuf, second: &Header) -> Self {
        Self {
            detail: "another data set with its SOP Instance UID has taken its place".to_owned(),
            ..Self::twin(quarantined, second, false)
        }
    }

    pub(crate) fn unparsable(quarantined: PathBuf, detail: String) -> Self {
        Self {
            quarantined,
            reason: QuarantineReason::Unparsable,
            detail,
            study: None,
            sop_instance: None,
            holds: false,
        }
    }

    /// Takes an instance out of service whose UID the ledger knows in another study or series. That
    /// study is held already. `None` when it is not there any more.
    ///
    /// # Errors
    /// When the disk refuses; it stays in the spool, without a row.
    pub async fn misplaced(spool: &Spool, header: &Header) -> io::Result<Option<Self>> {
        let key = InstanceKey::of(header);
        let quarantined = take_out(spool, key.clone(), ELSEWHERE).await?;
        Ok(quarantined.map(|quarantined| Self::elsewhere(quarantined, key)))
    }

    /// Takes an instance out of service whose bytes are not what was kept, so that it can come again.
    /// `None` when it is not there any more.
    ///
    /// # Errors
    /// When the disk refuses; it stays in the spool.
    pub async fn damaged(spool: &Spool, key: InstanceKey) -> io::Result<Option<Self>> {
        let quarantined = take_out(spool, key.clone(), DAMAGED).await?;
        Ok(quarantined.map(|quarantined| Self::of_damaged(quarantined, key)))
    }

    /// What the disk has damaged, after it was taken out of service.
    pub(crate) fn of_damaged(quarantined: PathBuf, key: InstanceKey) -> Self {
        Self {
            study: Some(key.study),
            sop_instance: Some(key.sop_instance),
            ..Self::unparsable(quarantined, DAMAGED.to_owned())
        }
    }

    /// Takes an instance out of service whose file came where the ledger knows another data set: that one's file
    /// was damaged. `None` when it is not there any more.
    ///
    /// # Errors
    /// When the disk refuses; it stays in the spool.
    pub async fn other_than_known(spool: &Spool, key: InstanceKey) -> io::Result<Option<Self>> {
        let quarantined = take_out(spool, key.clone(), OTHER).await?;
        Ok(quarantined.map(|quarantined| Self {
            reason: QuarantineReason::Twin,
            study: Some(key.study),
            sop_instance: Some(key.sop_instance),
            ..Self::unparsable(quarantined, OTHER.to_owned())
        }))
    }

    /// What a process that died has put into quarantine without saying so in the ledger, with the instance in
    /// service whose study it holds. Blocks.
    pub fn left_behind(spool: &Spool, quarantined: PathBuf) -> (Self, Option<Found>) {
        let Ok(second) = spool.find_quarantined(&quarantined) else {
            return (Self::unparsable(quarantined, "it cannot be read".to_owned()), None);
        };
        let Ok(first) = spool.find(&second.key) else {
            return (Self::elsewhere(quarantined, second.key), None);
        };
        // A study of our own results is no patient's: its row is its job's.
        let holds = identity_differs(&first.header, &second.header) && !is_own_result(&first.header);
        (Self::twin(quarantined, &second.header, holds), holds.then_some(first))
    }

    fn elsewhere(quarantined: PathBuf, key: InstanceKey) -> Self {
        Self {
            quarantined,
            reason: QuarantineReason::Misplaced,
            detail: ELSEWHERE.to_owned(),
            study: Some(key.study),
            sop_instance: Some(key.sop_instance),
            holds: false,
        }
    }

    /// Writes its row.
    ///
    /// # Errors
    /// When the ledger does not carry it out.
    pub async fn record(
        &self,
        ledger: &Ledger,
        association: Option<AssociationId>,
    ) -> Result<(), ledger::Error> {
        let name = self.quarantined.file_name().unwrap_or_default();
        let new = NewQuarantined {
            kept_as: name.to_string_lossy().into_owned(),
            reason: self.reason,
            detail: self.detail.clone(),
            association,
            study: self.study.clone(),
            sop_instance: self.sop_instance.clone(),
            at: Millis::now(),
        };
        match self.study.as_ref().filter(|_| self.holds) {
            Some(study) => ledger.quarantine_and_hold(&new, study).await,
            None => ledger.quarantine(&new).await,
        }
        .map(drop)
    }
}

async fn take_out(spool: &Spool, key: InstanceKey, reason: &'static str) -> io::Result<Option<PathBuf>> {
    let spool = spool.clone();
    let moved = tokio::task::spawn_blocking(move || spool.set_aside(&key, reason)).await;
    moved.map_err(io::Error::other)?
}
