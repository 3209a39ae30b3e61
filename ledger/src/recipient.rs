//! Where push messages go: doctors' devices, and the apps of patients.

use std::fmt;

use imaging::StudyUid;

use crate::db::{Record, Row, Tx, sql};
use crate::text_enum::text_enum;
use crate::{AccountId, Error, Ledger, Millis, RecipientId};

text_enum! {
    pub enum RecipientKind {
        Doctor = "doctor",
        Patient = "patient",
    }
}

/// What the push service knows a device by. Whoever has it can be told things, so that `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PushToken(String);

impl PushToken {
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PushToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PushToken(redacted)")
    }
}

/// A patient as images name him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DicomPatient {
    pub id: String,
    pub issuer: String,
}

impl Ledger {
    /// The devices of an account, instead of those before. A device is one doctor's: who had it has it no more.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_devices(
        &self,
        account: AccountId,
        tokens: &[PushToken],
        now: Millis,
    ) -> Result<(), Error> {
        let owner = account.to_string();
        let mut tx = self.db.begin().await?;
        for token in tokens {
            let delete =
                sql("delete from push_recipient where kind = 'doctor' and token = $1 and owner <> $2");
            tx.execute(delete.bind(token.expose()).bind(&owner)).await?;
        }
        replace(&mut tx, RecipientKind::Doctor, &owner, tokens, now).await?;
        tx.commit().await
    }

    /// The apps of a patient and whom images call the same person, instead of those before.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_patient_recipients(
        &self,
        patient_id: &str,
        tokens: &[PushToken],
        same: &[DicomPatient],
        by: &str,
        now: Millis,
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        replace(&mut tx, RecipientKind::Patient, patient_id, tokens, now).await?;
        tx.execute(sql("delete from patient_link where patient_id = $1").bind(patient_id)).await?;
        for patient in same {
            let insert = sql("insert into patient_link
                    (patient_id, dicom_patient_id, dicom_issuer, made_by, created_at)
                  values ($1, $2, $3, $4, $5) on conflict do nothing")
            .bind(patient_id)
            .bind(&patient.id)
            .bind(&patient.issuer)
            .bind(by)
            .bind(now);
            tx.execute(insert).await?;
        }
        tx.commit().await
    }

    /// The devices of doctors: of all, or of the one with that login name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn devices_of_doctors(&self, name: Option<&str>) -> Result<Vec<RecipientId>, Error> {
        let statement = sql("select recipient_id from push_recipient
              join account on account.account_id = push_recipient.owner
              where kind = 'doctor' and account.role = 'doctor' and account.disabled_at is null
                and ($1 is null or account.name = $1)
              order by recipient_id");
        recipients(&self.db.rows(statement.bind(name)).await?)
    }

    /// The apps of a patient, by the callers' word for him.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn apps_of_patient(&self, patient_id: &str) -> Result<Vec<RecipientId>, Error> {
        let statement = sql("select recipient_id from push_recipient
              where kind = 'patient' and owner = $1 order by recipient_id");
        recipients(&self.db.rows(statement.bind(patient_id)).await?)
    }

    /// The apps of the patient of a study, where somebody has said who that is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn apps_of_study(&self, study: &StudyUid) -> Result<Vec<RecipientId>, Error> {
        let statement = sql("select distinct push_recipient.recipient_id from study
              join patient_link on patient_link.dicom_patient_id = study.patient_id
                               and patient_link.dicom_issuer = study.patient_issuer
              join push_recipient on push_recipient.kind = 'patient' and push_recipient.owner = patient_link.patient_id
              where study.study_uid = $1 and study.patient_id <> ''
              order by push_recipient.recipient_id");
        recipients(&self.db.rows(statement.bind(study)).await?)
    }

    /// Where a recipient is reached; nothing once he is not to be told any more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn push_token(&self, recipient: RecipientId) -> Result<Option<PushToken>, Error> {
        let statement = sql("select * from push_recipient
              where recipient_id = $1
                and (kind = 'patient' or exists (select 1 from account
                        where account.account_id = owner and account.role = 'doctor' and account.disabled_at is null))");
        self.db.record(statement.bind(recipient)).await
    }

    /// Forgets a recipient whose app is gone.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn forget_recipient(&self, recipient: RecipientId) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        tx.execute(sql("delete from push_recipient where recipient_id = $1").bind(recipient)).await?;
        tx.commit().await
    }
}

fn recipients(rows: &[Row]) -> Result<Vec<RecipientId>, Error> {
    rows.iter().map(|row| row.int("recipient_id").map(RecipientId)).collect()
}

/// Those who stay keep their number: a message may be on its way to them.
async fn replace(
    tx: &mut Tx,
    kind: RecipientKind,
    owner: &str,
    tokens: &[PushToken],
    now: Millis,
) -> Result<(), Error> {
    let before = sql("select * from push_recipient where kind = $1 and owner = $2").bind(kind).bind(owner);
    for row in tx.rows(before).await? {
        if !tokens.contains(&PushToken::read(&row)?) {
            let number = row.int("recipient_id")?;
            tx.execute(sql("delete from push_recipient where recipient_id = $1").bind(number)).await?;
        }
    }
    for token in tokens {
        let insert =
            sql("insert into push_recipient (kind, owner, token, created_at) values ($1, $2, $3, $4)
              on conflict (kind, owner, token) do nothing")
            .bind(kind)
            .bind(owner)
            .bind(token.expose())
            .bind(now);
        tx.execute(insert).await?;
    }
    Ok(())
}

impl Record for PushToken {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self(row.text("token")?))
    }
}
