//! Fusions: a model over what others found in a study and values that a person or a system states.
//!
//! A fusion is a job like any other. Its options hold the stated values and, for each part, which result goes in: the
//! same values over the same results are asked once, and a result that replaces another, comes late or is refused by a
//! doctor asks anew with the values that were stated last. A fusion is about the whole study; its report stands beside
//! that of its first part. A part that is missing is an answer, "not analysed: reason", not a failure.

mod answer;
mod part;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use imaging::StudyUid;
use inference::{
    Model, ModelId, Registry, Row,
    package::{Policy, Task},
};
use ledger::{About, Enqueued, Job, JobId, JobState, Ledger, ModelRef, NewJob, Priority, ReleaseGuard};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::{
    config::PipelineConfig,
    job_key::job_key,
    kill_point::{self, KillPoint},
    release,
};

pub(crate) use answer::{AnswerError, answer, inputs};
pub(crate) use part::in_force;
use part::{Chosen, chosen};

/// A fusion that somebody asks for.
#[derive(Clone)]
pub struct FusionOrder {
    pub study: StudyUid,
    /// Id or alias.
    pub model: String,
    /// What is stated: the model's own values, and those of its parts that are rows.
    pub values: Row,
    /// Who asks.
    pub actor: String,
    pub request_id: Option<String>,
}

impl std::fmt::Debug for FusionOrder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "FusionOrder({} over {}, {} values)", self.model, self.study, self.values.len())
    }
}

/// Why a fusion was not asked.
#[derive(Debug, thiserror::Error)]
pub enum FusionError {
    #[error("no model \"{0}\" is in service")]
    NoSuchModel(String),
    #[error("{0} is no fusion")]
    NoFusion(String),
    #[error("there is no such study")]
    NoSuchStudy,
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

/// What the options of a fusion's job say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Options {
    values: Row,
    /// By the id that the package gives the part.
    parts: BTreeMap<ModelId, Chosen>,
}

impl Options {
    fn of(job: &Job) -> Result<Self, serde_json::Error> {
        serde_json::from_value(job.options.clone())
    }
}

/// What fusions are asked with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) registry: &'a Registry,
    pub(crate) config: &'a PipelineConfig,
}

impl Asking<'_> {
    /// Asks for a fusion over the results that are in force; the same again finds the same job. Versions that are only
    /// tried out are asked too; the question that the order names goes through `ledger`.
    pub(crate) async fn ask(&self, ledger: &Ledger, order: &FusionOrder) -> Result<JobId, FusionError> {
        let model =
            self.registry.get(&order.model).ok_or_else(|| FusionError::NoSuchModel(order.model.clone()))?;
        if !matches!(model.package().task, Task::Fusion(_)) {
            return Err(FusionError::NoFusion(model.package().full_name()));
        }
        let job = Asking { ledger, ..*self }.ask_model(&model, order).await?;
        for shadow in self.registry.shadows() {
            if shadow.package().id == model.package().id {
                self.ask_model(&shadow, order).await?;
            }
        }
        Ok(job)
    }

    async fn ask_model(&self, model: &Model, order: &FusionOrder) -> Result<JobId, FusionError> {
        loop {
            let draft = self.draft(model, order).await?;
            let last = self.ledger.last_job(&draft.question()).await?;
            if let Some(last) = &last
                && last.model == draft.model
                && last.options == draft.options
                && last.state != JobState::Cancelled
            {
                return Ok(last.id);
            }
            if let Some(job) = self.enqueue(draft, last.as_ref()).await? {
                return Ok(job);
            }
        }
    }

    /// Asks the fusions of a study anew whose parts have other results now, with the values that were stated last, and
    /// releases those that a hold had kept back.
    pub(crate) async fn follow_parts(&self, study: &StudyUid) -> Result<(), FusionError> {
        for model in self.fusions() {
            while !self.follow(&model, study).await? {}
        }
        Ok(())
    }

    /// Whether nothing is left to do: somebody who asked meanwhile stated other values.
    async fn follow(&self, model: &Model, study: &StudyUid) -> Result<bool, FusionError> {
        let Task::Fusion(fusion) = &model.package().task else { return Ok(true) };
        let Some(last) = self.ledger.last_job(&question(model, study)).await? else { return Ok(true) };
        let Ok(options) = Options::of(&last) else { return Ok(true) };
        if last.state == JobState::Cancelled {
            return Ok(true);
        }
        if chosen(self.ledger, self.registry, fusion, study).await? == options.parts {
            if last.state == JobState::Computed {
                let package = Some(model.package());
                release::release_computed(self.ledger, self.config, package, &last, &guard()).await?;
            }
            return Ok(true);
        }
        let order = FusionOrder {
            study: study.clone(),
            model: model.package().id.to_string(),
            values: options.values,
            actor: "overread".to_owned(),
            request_id: last.request_id.clone(),
        };
        let draft = self.draft(model, &order).await?;
        Ok(self.enqueue(draft, Some(&last)).await?.is_some())
    }

    /// A stop between a part's result and the question that follows from it leaves that question to the next start.
    pub(crate) async fn follow_parts_everywhere(&self) -> Result<(), FusionError> {
        for model in self.fusions() {
            for study in self.ledger.studies_overtaken(model.package().id.as_str()).await? {
                self.follow_parts(&study).await?;
            }
        }
        Ok(())
    }

    fn fusions(&self) -> Vec<Arc<Model>> {
        let models = self.registry.active().into_iter().chain(self.registry.shadows());
        models.filter(|model| matches!(model.package().task, Task::Fusion(_))).collect()
    }

    /// The question as it would be asked now, if nothing had been asked before.
    async fn draft(&self, model: &Model, order: &FusionOrder) -> Result<NewJob, FusionError> {
        let study = self.ledger.study(&order.study).await?.ok_or(FusionError::NoSuchStudy)?;
        let Task::Fusion(fusion) = &model.package().task else {
            return Err(FusionError::NoFusion(model.package().full_name()));
        };
        let parts = chosen(self.ledger, self.registry, fusion, &order.study).await?;
        // What is no number is missing.
        let values = order.values.iter().filter(|(_, value)| value.is_finite());
        let values = values.map(|(name, value)| (name.clone(), *value)).collect();
        let options = Options { values, parts };
        Ok(NewJob {
            input_revision: study.revision,
            options: serde_json::to_value(options).expect("names, numbers and keys are JSON"),
            actor: order.actor.clone(),
            request_id: order.request_id.clone(),
            created_at: self.config.clock.now(),
            ..bare(model, &order.study)
        })
    }

    /// Nothing when somebody asked since `last`.
    async fn enqueue(&self, mut new: NewJob, last: Option<&Job>) -> Result<Option<JobId>, ledger::Error> {
        new.about = About::Study { after: last.map(|last| last.id) };
        // The study stands in the key: without a part nothing else tells two patients with the same values apart. So does
        // the job before: who takes a correction back asks anew.
        let mut before = vec![("study", new.study.as_str())];
        if let Some(last) = last {
            before.push(("after", last.key.as_str()));
            // Whatever a clock says, what is asked later is later.
            new.created_at = new.created_at.max(last.created_at.plus(Duration::from_millis(1)));
        }
        new.key = job_key(&[before], &new.model.digest, &new.options);
        match self.ledger.enqueue_job(&new).await? {
            Enqueued::New { job, .. } => {
                kill_point::pass(KillPoint::Enqueued);
                metrics::counter!("overread_jobs_enqueued_total", "model" => new.model.id.clone())
                    .increment(1);
                info!(study.uid = %new.study, job.id = %job, model.id = %new.model.id, "job {job} is queued");
                Ok(Some(job))
            }
            Enqueued::Exists { .. } | Enqueued::Stale { .. } => Ok(None),
        }
    }
}

/// The results that go in were released under guards of their own.
pub(crate) fn guard() -> ReleaseGuard {
    ReleaseGuard::Unchanged(Vec::new())
}

/// What all questions to a model about a study have in common.
fn bare(model: &Model, study: &StudyUid) -> NewJob {
    let package = model.package();
    NewJob {
        key: String::new(),
        study: study.clone(),
        input_revision: 0,
        model: ModelRef {
            id: package.id.to_string(),
            version: package.version.to_string(),
            digest: package.digest.clone(),
        },
        options: serde_json::Value::Null,
        priority: Priority::Routine,
        inputs: Vec::new(),
        about: About::Study { after: None },
        is_shadow: package.writes.policy == Policy::Shadow,
        actor: String::new(),
        request_id: None,
        created_at: ledger::Millis(0),
    }
}

fn question(model: &Model, study: &StudyUid) -> String {
    bare(model, study).question()
}
