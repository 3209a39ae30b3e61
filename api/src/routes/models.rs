//! Model packages in service.

use axum::extract::State;
use inference::{
    Package,
    package::{IntendedUse, Task},
};
use ledger::Role;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth::Caller,
    error::{ApiError, ApiResult},
    extract::{Json, Path},
    state::AppState,
};

/// A model package in service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelView {
    id: String,
    version: String,
    name: String,
    aliases: Vec<String>,
    /// `segmentation`, `classification`, `tabular` or `fusion`.
    task: &'static str,
    /// What the maker says that it is for; `demonstration`: never for patients.
    intended_use: String,
    description: String,
    /// Changes when an answer could change.
    digest: String,
    /// What it can say.
    labels: Vec<String>,
    /// Its results are kept and never sent.
    shadow: bool,
}

/// What is in service, and what is not.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Models {
    items: Vec<ModelView>,
    /// Packages that were found and refused; for administrators.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedView>,
}

/// A package that is not in service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedView {
    /// Its folder's name.
    package: String,
    reason: String,
    /// The version that goes on serving from this folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    still_serving: Option<String>,
}

impl From<inference::Refused> for RefusedView {
    fn from(refused: inference::Refused) -> Self {
        let package = refused.dir.file_name().map(|name| name.to_string_lossy().into_owned());
        Self {
            package: package.unwrap_or_default(),
            reason: refused.reason,
            still_serving: refused.still_serving,
        }
    }
}

/// A model package with its card.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelDetail {
    #[serde(flatten)]
    model: ModelView,
    /// Data, training, figures and limits, as Markdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<String>,
}

impl From<&Package> for ModelView {
    fn from(package: &Package) -> Self {
        Self {
            id: package.id.to_string(),
            version: package.version.to_string(),
            name: package.name.clone(),
            aliases: package.aliases.iter().map(ToString::to_string).collect(),
            task: package.task.name(),
            intended_use: match &package.intended_use {
                IntendedUse::Demonstration => "demonstration".to_owned(),
                IntendedUse::Stated(sentence) => sentence.clone(),
            },
            description: package.description.clone(),
            digest: package.digest.clone(),
            labels: labels(&package.task),
            shadow: false,
        }
    }
}

fn labels(task: &Task) -> Vec<String> {
    match task {
        Task::Segmentation(task) => task.output.labels.iter().map(|label| label.name.clone()).collect(),
        Task::Classification(task) => task.output.classes.iter().map(|class| class.name.clone()).collect(),
        Task::Tabular(_) | Task::Fusion(_) => Vec::new(),
    }
}

/// Models in service: of each id the newest version, then those that only watch.
#[utoipa::path(get, path = "/v1/models", tag = "models", operation_id = "list_models",
    responses((status = 200, body = Models)))]
pub(crate) async fn list(State(state): State<AppState>, caller: Caller) -> Json<Models> {
    let active = state.registry.active().into_iter().map(|model| ModelView::from(model.package()));
    let shadows = state.registry.shadows().into_iter();
    let shadows = shadows.map(|model| ModelView { shadow: true, ..ModelView::from(model.package()) });
    let refused = match caller.role {
        Role::Admin => state.registry.refused().into_iter().map(RefusedView::from).collect(),
        Role::Doctor | Role::Technician | Role::Service | Role::Worker => Vec::new(),
    };
    Json(Models { items: active.chain(shadows).collect(), refused })
}

/// One model, by id, alias or `id@version`, with its card.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "models", operation_id = "get_model",
    params(("id" = String, Path)), responses((status = 200, body = ModelDetail)))]
pub(crate) async fn get(
    State(state): State<AppState>,
    _caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<ModelDetail>> {
    let model = state.registry.get(&id).ok_or_else(|| ApiError::no_such("model"))?;
    let package = model.package().clone();
    let view = ModelView::from(&package);
    let card = tokio::task::spawn_blocking(move || package.card()).await.map_err(ApiError::internal)?;
    Ok(Json(ModelDetail { model: view, card: card.map_err(ApiError::internal)? }))
}
