//! The jobs that a study asks for as it is now: routing and readiness put together; pure.

use std::collections::BTreeMap;

use imaging::SeriesUid;
use inference::{Package, package::Policy};
use ledger::{JobInput, Millis, ModelRef, SeriesAt};
use serde_json::{Value, json};

use crate::{
    job_key::job_key,
    picture::{SeriesPicture, StudyPicture},
    readiness::{Patience, Verdict, verdict},
    routing::{ChosenStack, ModelRoute, SiteRule, route},
};

/// What a study asks for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) verdicts: BTreeMap<SeriesUid, Verdict>,
    pub(crate) routes: Vec<ModelRoute>,
    pub(crate) jobs: Vec<PlannedJob>,
}

/// One job that the study asks for.
#[derive(Debug, Clone)]
pub(crate) struct PlannedJob {
    pub(crate) key: String,
    pub(crate) model: ModelRef,
    pub(crate) options: Value,
    pub(crate) inputs: Vec<JobInput>,
    /// Its input is one image that stands for itself.
    pub(crate) stands_alone: bool,
    /// Its model is only tried out.
    pub(crate) is_shadow: bool,
    /// Its series at the moment at which they were found whole; nothing when one of them is not.
    pub(crate) whole: Option<Vec<SeriesAt>>,
}

impl Plan {
    pub(crate) fn of<'a>(
        picture: &StudyPicture,
        packages: impl IntoIterator<Item = &'a Package>,
        rules: &[SiteRule],
        patience: Patience,
        now: Millis,
    ) -> Self {
        let verdicts: BTreeMap<SeriesUid, Verdict> = picture
            .series
            .iter()
            .filter(|series| series.is_candidate())
            .map(|series| (series.row.series.clone(), verdict(&series.facts, patience, now)))
            .collect();
        let mut plan = Self { verdicts, routes: Vec::new(), jobs: Vec::new() };
        for package in packages {
            let route = route(package, rules, &picture.series);
            let jobs = route.jobs.iter().map(|stacks| plan.job(picture, package, stacks)).collect::<Vec<_>>();
            plan.jobs.extend(jobs);
            plan.routes.push(route);
        }
        plan
    }

    fn job(&self, picture: &StudyPicture, package: &Package, stacks: &[ChosenStack]) -> PlannedJob {
        let options = json!({});
        let channels: Vec<_> =
            stacks.iter().map(|chosen| instances(&picture.series[chosen.series_idx], chosen)).collect();
        PlannedJob {
            key: job_key(&channels, &package.digest, &options),
            model: ModelRef {
                id: package.id.to_string(),
                version: package.version.to_string(),
                digest: package.digest.clone(),
            },
            options,
            inputs: stacks.iter().map(|chosen| input(&picture.series[chosen.series_idx], chosen)).collect(),
            stands_alone: stacks.iter().any(|chosen| chosen.stands_alone),
            is_shadow: package.writes.policy == Policy::Shadow,
            whole: self.whole(picture, stacks),
        }
    }

    fn whole(&self, picture: &StudyPicture, stacks: &[ChosenStack]) -> Option<Vec<SeriesAt>> {
        stacks
            .iter()
            .map(|chosen| {
                let row = &picture.series[chosen.series_idx].row;
                let is_whole = self.verdicts.get(&row.series).is_some_and(Verdict::is_whole);
                is_whole.then(|| SeriesAt { series: row.series.clone(), revision: row.revision })
            })
            .collect()
    }

    /// When a series that is not whole yet may be so without anything happening.
    pub(crate) fn look_again_at(&self) -> Option<Millis> {
        self.verdicts.values().filter_map(|verdict| verdict.look_again_at).min()
    }

    pub(crate) fn job_with_key(&self, key: &str) -> Option<&PlannedJob> {
        self.jobs.iter().find(|job| job.key == key)
    }
}

fn members<'a>(series: &'a SeriesPicture, chosen: &ChosenStack) -> impl Iterator<Item = usize> + 'a {
    series.stacks.stacks[chosen.stack as usize].members.iter().copied()
}

fn instances<'a>(series: &'a SeriesPicture, chosen: &ChosenStack) -> Vec<(&'a str, &'a str)> {
    members(series, chosen)
        .map(|member| (series.headers[member].sop_instance.as_str(), series.digests[member].as_str()))
        .collect()
}

fn input(series: &SeriesPicture, chosen: &ChosenStack) -> JobInput {
    JobInput {
        series: chosen.series.clone(),
        stack: chosen.stack,
        instances: members(series, chosen)
            .map(|member| series.headers[member].sop_instance.clone())
            .collect(),
    }
}
