//! The outbox: what has to reach which destination.

use axum::extract::State;
use imaging::StudyUid;
use ledger::{Delivery, DeliveryFilter, DeliveryId, DeliveryState, Parcel};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use crate::{
    audit::Deeds,
    auth::{Operator, Reader},
    error::{ApiError, ApiResult},
    extract::{Json, Path, Query},
    page::{Page, PageQuery},
    request_id::RequestId,
    state::AppState,
    view::timestamp,
};

/// Which deliveries are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveryQuery {
    /// To this destination.
    destination: Option<String>,
    /// In this state.
    #[param(value_type = Option<String>)]
    state: Option<DeliveryState>,
    /// Of this study.
    #[param(value_type = Option<String>)]
    study: Option<StudyUid>,
}

/// One object (or message) on its way to one destination.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    id: i64,
    destination: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    study_uid: Option<String>,
    /// The object; absent for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_id: Option<String>,
    /// `waiting`, `sending`, `sent`, `proved` (the destination was asked and has it),
    /// `parked` (refused: waits for a person, and its study's deliveries behind it) or `dropped`.
    #[schema(value_type = String)]
    state: DeliveryState,
    state_since: String,
    attempts: u32,
    /// It is not tried before.
    not_before: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    created_at: String,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let artifact_id = match delivery.parcel {
            Parcel::Artifact(id) => Some(id.to_string()),
            Parcel::Message { .. } => None,
        };
        Self {
            id: delivery.id.0,
            destination: delivery.destination,
            study_uid: delivery.study.map(|uid| uid.to_string()),
            artifact_id,
            state: delivery.state,
            state_since: timestamp(delivery.state_since),
            attempts: delivery.attempts,
            not_before: timestamp(delivery.not_before),
            failure: delivery.failure,
            created_at: timestamp(delivery.created_at),
        }
    }
}

/// Deliveries, newest first.
#[utoipa::path(get, path = "/v1/deliveries", tag = "deliveries", operation_id = "list_deliveries",
    params(DeliveryQuery, PageQuery), responses((status = 200, body = Page<DeliveryView>)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    _reader: Reader,
    Query(query): Query<DeliveryQuery>,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<Page<DeliveryView>>> {
    let filter = DeliveryFilter { destination: query.destination, state: query.state, study: query.study };
    let deliveries = state.ledger.deliveries(&filter, &page.request()?).await?;
    Ok(Json(Page::of(deliveries, DeliveryView::from)))
}

/// Sends a parked delivery, or one that was sent and did not arrive, again.
#[utoipa::path(post, path = "/v1/deliveries/{id}/retry", tag = "deliveries", operation_id = "retry_delivery",
    params(("id" = i64, Path)),
    responses((status = 200, body = DeliveryView), (status = 409, description = "It is neither parked nor sent")))]
pub(crate) async fn retry(
    State(state): State<AppState>,
    operator: Operator,
    request: RequestId,
    Path(id): Path<DeliveryId>,
) -> ApiResult<Json<DeliveryView>> {
    let (by, now, deeds) = (operator.actor(), state.now(), Deeds::of(&state, &operator, &request));
    let row = deeds.row("delivery.retry", id.to_string(), json!({}));
    deeds.carry_out([row], async |ledger| ledger.resend_delivery(id, &by, now).await).await?;
    let delivery = state.ledger.delivery(id).await?.ok_or_else(|| ApiError::no_such("delivery"))?;
    Ok(Json(delivery.into()))
}
