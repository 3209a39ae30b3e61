//! What the columns of rows contributed to their answers.

use std::sync::Arc;

use inference::{Contributions, Model, NotExplained, Outcome, Scale};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiError, ApiResult, Code};

/// Rows of one request that are explained; each takes thousands of walks through each tree.
pub(crate) const EXPLAINED_MAX: usize = 100;

/// Exact Shapley values: they add up to the value less the base.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContributionsView {
    /// `probability`, or `log-odds` for boosted trees.
    #[schema(value_type = String)]
    scale: Scale,
    /// The mean answer over the rows that stand for a column that is left out: those of the package's self-test.
    base: f64,
    /// The row's own answer in that scale.
    value: f64,
    /// In the order in which the model is given them.
    columns: Vec<ContributionView>,
}

/// One column, as the model is given it; some are derived from others.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContributionView {
    name: String,
    contribution: f64,
}

impl From<Contributions> for ContributionsView {
    fn from(found: Contributions) -> Self {
        let columns = found.columns.into_iter();
        Self {
            scale: found.scale,
            base: found.base,
            value: found.value,
            columns: columns.map(|(name, contribution)| ContributionView { name, contribution }).collect(),
        }
    }
}

/// Of each row, in their order; none for one that is not analysed.
pub(crate) async fn explain(
    model: &Arc<Model>,
    rows: Vec<Vec<f64>>,
) -> ApiResult<Vec<Option<ContributionsView>>> {
    if rows.len() > EXPLAINED_MAX {
        let detail = format!("contributions are told of at most {EXPLAINED_MAX} rows at once");
        return Err(ApiError::because(Code::Unprocessable, detail));
    }
    let model = Arc::clone(model);
    let explained = tokio::task::spawn_blocking(move || model.contributions(rows)).await;
    let explained = explained.map_err(ApiError::internal)?.map_err(|error| match error {
        NotExplained::Unsuitable(reason) => ApiError::because(Code::Unprocessable, reason),
        NotExplained::Inference(error) => ApiError::internal(error),
    })?;
    let view = |outcome: Outcome<Contributions>| match outcome {
        Outcome::Findings(found) => Some(found.into()),
        Outcome::NotAnalysed { .. } => None,
    };
    Ok(explained.into_iter().map(view).collect())
}
