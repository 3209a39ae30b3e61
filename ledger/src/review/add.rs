//! A review becomes true: its row, its objects, their deliveries, event and audit row in one transaction.

use serde_json::{Value, json};

use super::{Eyes, RejectionReason, Review, ReviewState, Reviewer, Standing, Verdict, standing};
use crate::db::{Tx, sql};
use crate::event::{self, NewEvent};
use crate::{
    AuditKey, Error, Ledger, Millis, NewArtifact, NewAudit, NewDelivery, ResultId, ResultRow, ReviewId,
    Topic, artifact, audit, delivery, hold, study,
};

#[derive(Debug, Clone)]
pub struct NewReview {
    /// Made by the caller ([`ReviewId::generate`]): the UIDs of the objects are derived from it.
    pub id: ReviewId,
    pub result: ResultId,
    /// The number of the last review that its doctor saw; 0 when there was none.
    pub after: u32,
    pub verdict: Verdict,
    pub comment: Option<String>,
    pub reviewer: Reviewer,
    /// How many doctors this site asks for.
    pub eyes: Eyes,
    pub request_id: Option<String>,
    pub at: Millis,
}

/// What a review makes. The bytes of the artifacts are in the spool before it is handed over.
#[derive(Debug, Clone, Default)]
pub struct ReviewObjects {
    pub artifacts: Vec<NewArtifact>,
    /// In the order in which they are to arrive.
    pub deliveries: Vec<NewDelivery>,
}

/// What became of a review; all but the first changed nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Reviewed {
    Added(Review),
    /// The very same was said before, and this is it.
    Repeated(Review),
    /// Somebody decided meanwhile; so many reviews there are now.
    Overtaken(u32),
    /// This cannot be said of a result that stands there.
    Impossible(ReviewState),
    /// The first doctor cannot be the second one as well.
    SameDoctor,
    /// The first opinion is another doctor's to take back.
    OthersOpinion,
    /// A newer result has taken the place of this one.
    Superseded(ResultId),
    /// A person has to say first whose images these are.
    StudyHeld,
}

impl Ledger {
    /// Adds a review to the history of its result, if its doctor saw all of it.
    ///
    /// # Errors
    /// [`Error::NoSuchResult`] (also for one that is not released), [`Error::ObjectTaken`], or
    /// when the database does not carry it out.
    pub async fn add_review(
        &self,
        new: &NewReview,
        objects: &ReviewObjects,
        key: &AuditKey,
    ) -> Result<Reviewed, Error> {
        let found = self.result(new.result).await?.filter(|row| row.released_at.is_some());
        let found = found.ok_or(Error::NoSuchResult(new.result))?;
        let mut tx = self.db.begin().await?;
        // The study before the result: the order in which everybody locks.
        study::lock(&mut tx, &found.study).await?;
        let found = locked(&mut tx, new.result).await?;
        let state = match to(&mut tx, &found, new).await? {
            Ok(state) => state,
            Err(refusal) => return Ok(refusal),
        };
        let review = insert(&mut tx, &found, new, state).await?;
        keep(&mut tx, &review, objects).await?;
        note(&mut tx, &found, &review, objects, key).await?;
        self.commit(tx, &[Topic::Deliveries]).await?;
        Ok(Reviewed::Added(review))
    }
}

async fn locked(tx: &mut Tx, result: ResultId) -> Result<ResultRow, Error> {
    let statement = sql("update result set review_number = review_number where result_id = $1 returning *");
    tx.record(statement.bind(result)).await?.ok_or(Error::NoSuchResult(result))
}

/// Where the result goes, or why it stays.
async fn to(tx: &mut Tx, found: &ResultRow, new: &NewReview) -> Result<Result<ReviewState, Reviewed>, Error> {
    if found.review_number != new.after {
        let next = review_at(tx, new.result, new.after.saturating_add(1)).await?;
        let same = next.filter(|review| review.says_the_same_as(new));
        return Ok(Err(same.map_or(Reviewed::Overtaken(found.review_number), Reviewed::Repeated)));
    }
    if let Some(newer) = found.superseded_by {
        return Ok(Err(Reviewed::Superseded(newer)));
    }
    if hold::is_held(tx, &found.study).await? {
        return Ok(Err(Reviewed::StudyHeld));
    }
    let last = review_at(tx, new.result, found.review_number).await?;
    let to = standing(found.review_state, last.as_ref(), &new.verdict, new.reviewer.account, new.eyes);
    Ok(match to {
        Standing::To(state) => Ok(state),
        Standing::Impossible => Err(Reviewed::Impossible(found.review_state)),
        Standing::SameDoctor => Err(Reviewed::SameDoctor),
        Standing::OthersOpinion => Err(Reviewed::OthersOpinion),
    })
}

async fn review_at(tx: &mut Tx, result: ResultId, number: u32) -> Result<Option<Review>, Error> {
    let statement = sql("select * from review where result_id = $1 and number = $2");
    tx.record(statement.bind(result).bind(number)).await
}

impl Review {
    fn says_the_same_as(&self, new: &NewReview) -> bool {
        self.reviewer.account == new.reviewer.account
            && self.verdict == new.verdict
            && self.comment == new.comment
    }
}

async fn insert(
    tx: &mut Tx,
    found: &ResultRow,
    new: &NewReview,
    state: ReviewState,
) -> Result<Review, Error> {
    let number = new.after.saturating_add(1);
    let statement = sql("update result set review_state = $2, review_number = $3 where result_id = $1");
    tx.execute(statement.bind(new.result).bind(state).bind(number)).await?;
    let correction = correction_of(&new.verdict).map(Value::to_string);
    let statement = sql("insert into review
                 (review_id, result_id, study_uid, number, decision, reason, correction, comment,
                  account_id, login, full_name, organization, request_id, at, leads_to)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
          returning *")
    .bind(new.id)
    .bind(new.result)
    .bind(&found.study)
    .bind(number)
    .bind(new.verdict.decision())
    .bind(reason_of(&new.verdict))
    .bind(correction)
    .bind(new.comment.as_ref())
    .bind(new.reviewer.account)
    .bind(&new.reviewer.login)
    .bind(&new.reviewer.full_name)
    .bind(&new.reviewer.organization)
    .bind(new.request_id.as_ref())
    .bind(new.at)
    .bind((state != new.verdict.leads_to()).then_some(state));
    tx.record(statement).await?.ok_or(Error::NoSuchResult(new.result))
}

fn reason_of(verdict: &Verdict) -> Option<RejectionReason> {
    if let Verdict::Reject(reason) = verdict { Some(*reason) } else { None }
}

fn correction_of(verdict: &Verdict) -> Option<&Value> {
    if let Verdict::Correct(given) = verdict { Some(given) } else { None }
}

async fn keep(tx: &mut Tx, review: &Review, objects: &ReviewObjects) -> Result<(), Error> {
    for new in &objects.artifacts {
        artifact::insert_of_review(tx, review, new).await?;
    }
    for new in &objects.deliveries {
        delivery::insert(tx, new, Some(review.result), review.at).await?;
    }
    Ok(())
}

/// The comment is in neither: it may name the patient.
async fn note(
    tx: &mut Tx,
    found: &ResultRow,
    review: &Review,
    objects: &ReviewObjects,
    key: &AuditKey,
) -> Result<(), Error> {
    let (kind, action) = names_of(review);
    let actor = format!("account:{}", review.reviewer.login);
    let detail = json!({
        "review_id": review.id, "number": review.number, "decision": review.verdict.decision(), "reason": reason_of(&review.verdict),
        "objects": objects.artifacts.len(), "deliveries": objects.deliveries.len(),
    });
    let event =
        NewEvent::new(kind, review.at).study(&review.study).job(found.job).result(review.result).by(&actor);
    event::append(tx, event.request(review.request_id.as_deref()).detail(detail.clone())).await?;
    let row = NewAudit {
        at: review.at,
        actor,
        action: action.to_owned(),
        subject: review.result.to_string(),
        request_id: review.request_id.clone(),
        detail,
    };
    audit::append(tx, key, &row).await.map(drop)
}

fn names_of(review: &Review) -> (&'static str, &'static str) {
    match (review.leads_to, &review.verdict) {
        (ReviewState::AwaitingSecond, _) => ("result.awaits-second", "result.first-opinion"),
        (ReviewState::Disputed, _) => ("result.disputed", "result.dispute"),
        (_, Verdict::Accept) => ("result.accepted", "result.accept"),
        (_, Verdict::Reject(_)) => ("result.rejected", "result.reject"),
        (_, Verdict::Correct(_)) => ("result.corrected", "result.correct"),
        (_, Verdict::Undo) => ("result.review-undone", "result.undo"),
    }
}
