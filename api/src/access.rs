//! Who may call what: the one table that the gate, the documentation and the tests read.
//!
//! A route that is not in it is served to nobody. The extractors of [`crate::auth`] ask
//! again for the same roles, so that a handler holds a proof of what its caller may do.

use axum::http::Method;
use ledger::Role;

use crate::auth::{Admin, Caller, Clinician, Doctor, Operator, Reader, Releaser};

/// What a caller must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, as often as wanted: probes and documentation, which cost nothing.
    Open,
    /// Anybody, a few times a minute: whoever calls is about to show who he is.
    SignIn,
    /// One of these roles, signed in or with an API key.
    Roles(&'static [Role]),
    /// One of these roles, as a person who signed in; an API key is nobody's presence.
    People(&'static [Role]),
    /// An Orthanc that knows the secret of its source.
    SourceSecret,
    /// A program that `compat.polling_workers` names.
    PollingWorker,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Rule {
    pub method: Method,
    /// As the router and the OpenAPI document write it.
    pub route: &'static str,
    pub access: Access,
}

const fn rule(method: Method, route: &'static str, access: Access) -> Rule {
    Rule { method, route, access }
}

const ANYONE: Access = Access::Roles(Caller::ROLES);
const READER: Access = Access::Roles(Reader::ROLES);
const CLINICIAN: Access = Access::Roles(Clinician::ROLES);
const OPERATOR: Access = Access::Roles(Operator::ROLES);
const ADMIN: Access = Access::Roles(Admin::ROLES);
const PERSON: Access = Access::People(Caller::ROLES);
const DOCTOR: Access = Access::People(Doctor::ROLES);
const RELEASER: Access = Access::People(Releaser::ROLES);

/// Every route that there is.
pub static RULES: &[Rule] = &[
    rule(Method::GET, "/", Access::Open),
    rule(Method::GET, "/livez", Access::Open),
    rule(Method::GET, "/ready", Access::Open),
    rule(Method::GET, "/metrics", Access::Open),
    rule(Method::GET, "/openapi.json", Access::Open),
    rule(Method::GET, "/docs", Access::Open),
    rule(Method::GET, "/docs/", Access::Open),
    rule(Method::GET, "/docs/{*rest}", Access::Open),
    rule(Method::POST, "/v1/auth/login", Access::SignIn),
    rule(Method::POST, "/v1/auth/one-time", Access::SignIn),
    rule(Method::POST, "/v1/auth/refresh", Access::SignIn),
    rule(Method::POST, "/v1/auth/logout", PERSON),
    rule(Method::GET, "/v1/me", ANYONE),
    rule(Method::PUT, "/v1/me/password", PERSON),
    rule(Method::PUT, "/v1/me/devices", CLINICIAN),
    rule(Method::PUT, "/v1/patients/{patient_id}/recipients", CLINICIAN),
    rule(Method::GET, "/v1/users", ADMIN),
    rule(Method::POST, "/v1/users", ADMIN),
    rule(Method::GET, "/v1/users/{name}", ADMIN),
    rule(Method::PATCH, "/v1/users/{name}", ADMIN),
    rule(Method::GET, "/v1/keys", ADMIN),
    rule(Method::POST, "/v1/keys", ADMIN),
    rule(Method::DELETE, "/v1/keys/{id}", ADMIN),
    rule(Method::GET, "/v1/audit", ADMIN),
    rule(Method::GET, "/v1/studies", READER),
    rule(Method::POST, "/v1/studies", CLINICIAN),
    rule(Method::GET, "/v1/studies/{uid}", READER),
    rule(Method::GET, "/v1/studies/{uid}/routing", READER),
    rule(Method::POST, "/v1/studies/{uid}/analyse", OPERATOR),
    rule(Method::POST, "/v1/studies/{uid}/release", RELEASER),
    rule(Method::POST, "/v1/studies/{uid}/fusions", CLINICIAN),
    rule(Method::GET, "/v1/jobs", READER),
    rule(Method::GET, "/v1/jobs/{id}", READER),
    rule(Method::POST, "/v1/jobs/{id}/cancel", OPERATOR),
    rule(Method::POST, "/v1/jobs/{id}/retry", OPERATOR),
    rule(Method::GET, "/v1/batches", READER),
    rule(Method::POST, "/v1/batches", OPERATOR),
    rule(Method::GET, "/v1/batches/{id}", READER),
    rule(Method::GET, "/v1/results", READER),
    rule(Method::GET, "/v1/results/{id}", READER),
    rule(Method::GET, "/v1/results/{id}/artifacts", READER),
    rule(Method::GET, "/v1/results/{id}/artifacts/{artifact_id}", CLINICIAN),
    rule(Method::GET, "/v1/results/{id}/reviews", READER),
    rule(Method::POST, "/v1/results/{id}/reviews", DOCTOR),
    rule(Method::POST, "/v1/results/{id}/reviews/segmentation", DOCTOR),
    rule(Method::GET, "/v1/feedback", READER),
    rule(Method::GET, "/v1/feedback/export", ADMIN),
    rule(Method::GET, "/v1/models", ANYONE),
    rule(Method::GET, "/v1/models/{id}", ANYONE),
    rule(Method::GET, "/v1/models/{id}/schema", ANYONE),
    rule(Method::POST, "/v1/models/{id}/predict", READER),
    rule(Method::POST, "/v1/models/reload", ADMIN),
    rule(Method::POST, "/v1/models/{id}/retrain", ADMIN),
    rule(Method::GET, "/v1/stats/drift", READER),
    rule(Method::GET, "/v1/retrainings", ADMIN),
    rule(Method::GET, "/v1/retrainings/{id}", ADMIN),
    rule(Method::POST, "/v1/retrainings/{id}/promote", ADMIN),
    rule(Method::POST, "/v1/retrainings/{id}/discard", ADMIN),
    rule(Method::GET, "/v1/predictions", READER),
    rule(Method::GET, "/v1/predictions/{id}", READER),
    // What clients of older systems call; see crate::compat.
    rule(Method::GET, "/health", Access::Open),
    rule(Method::GET, "/schema", READER),
    rule(Method::POST, "/predict", READER),
    rule(Method::POST, "/reload", ADMIN),
    rule(Method::POST, "/api/v1/predict", READER),
    rule(Method::GET, "/api/v1/status", READER),
    rule(Method::GET, "/api/v1/model-info", READER),
    rule(Method::POST, "/api/v1/retrain", ADMIN),
    rule(Method::GET, "/api/ml/schema", READER),
    rule(Method::POST, "/api/ml/predict", READER),
    rule(Method::POST, "/api/ml/reload", ADMIN),
    rule(Method::POST, "/ml/v1/predict", READER),
    rule(Method::GET, "/ml/v1/status", READER),
    rule(Method::GET, "/ml/v1/model-info", READER),
    rule(Method::POST, "/ml/v1/retrain", ADMIN),
    rule(Method::GET, "/ml/v1/history", READER),
    rule(Method::POST, "/predict/ct_classification", CLINICIAN),
    rule(Method::POST, "/v1/predict/ct_classification", CLINICIAN),
    rule(Method::POST, "/predict/mri_segmentation/async", CLINICIAN),
    rule(Method::GET, "/task/{id}", CLINICIAN),
    rule(Method::POST, "/feedback", CLINICIAN),
    rule(Method::POST, "/api/v1/m1/inference", CLINICIAN),
    rule(Method::POST, "/api/v1/mg/inference", CLINICIAN),
    rule(Method::POST, "/api/v1/mm/inference", CLINICIAN),
    rule(Method::POST, "/api/mri/segmentation/series/{series_id}/segment", CLINICIAN),
    rule(Method::GET, "/api/mri/segmentation/requests", CLINICIAN),
    rule(Method::GET, "/api/mri/segmentation/pending-requests", Access::PollingWorker),
    rule(Method::POST, "/api/mri/segmentation/update-status/{request_id}", Access::PollingWorker),
    rule(Method::POST, "/api/mri/segmentation/complete-request/{request_id}", Access::PollingWorker),
    // What of it each role may ask for, see crate::orthanc.
    rule(Method::GET, "/api/orthanc/{*path}", READER),
    rule(Method::POST, "/api/orthanc/{*path}", CLINICIAN),
    rule(Method::GET, "/v1/deliveries", READER),
    rule(Method::POST, "/v1/deliveries/{id}/retry", OPERATOR),
    rule(Method::GET, "/v1/events", READER),
    rule(Method::GET, "/ws/events", READER),
    rule(Method::POST, "/hooks/orthanc/{source}", Access::SourceSecret),
];

/// What the table says about a method at a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Rule(Access),
    /// The route takes other methods only; the router answers 405.
    OtherMethod,
    Unlisted,
}

pub(crate) fn look_up(method: &Method, route: &str) -> Verdict {
    // RFC 9110 §9.3.2: HEAD is GET without the content.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut verdict = Verdict::Unlisted;
    for rule in RULES.iter().filter(|rule| rule.route == route) {
        if rule.method == *method {
            return Verdict::Rule(rule.access);
        }
        verdict = Verdict::OtherMethod;
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_unlisted() {
        assert_eq!(look_up(&Method::GET, "/v1/secrets"), Verdict::Unlisted);
        assert_eq!(look_up(&Method::PUT, "/v1/me"), Verdict::OtherMethod);
        assert_eq!(look_up(&Method::HEAD, "/v1/me"), look_up(&Method::GET, "/v1/me"));
    }
}
