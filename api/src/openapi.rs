//! The OpenAPI 3.1 document, made from the handlers and the access table.
//!
//! Handlers say what they take and answer; who may call, and how everything can fail, is
//! the same everywhere and is added here from [`crate::access::RULES`].

use axum::http::Method;
use serde_json::json;
use utoipa::{
    OpenApi,
    openapi::{
        self, ContentBuilder, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Type,
        extensions::ExtensionsBuilder,
        path::{Operation, ParameterBuilder, ParameterIn, PathItem},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    access::{Access, RULES, Rule},
    compat::{self, ImageRefusal, WorkerRefusal},
    error::{PROBLEM_JSON, Problem},
    idempotency,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Overread",
        description = "A machine's second reading of every new imaging study. Not a medical device.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(Problem, ImageRefusal, WorkerRefusal)),
    tags(
        (name = "auth", description = "Signing in, and whoever is signed in"),
        (name = "people", description = "Accounts and API keys"),
        (name = "audit", description = "Who saw or did what"),
        (name = "studies", description = "What arrived, and what became of it"),
        (name = "jobs", description = "Runs of a model over series of a study"),
        (name = "batches", description = "Many studies at once"),
        (name = "results", description = "Findings, and the DICOM objects that hold them"),
        (name = "reviews", description = "What doctors decide about results"),
        (name = "models", description = "Model packages in service"),
        (name = "deliveries", description = "The outbox to PACS and folders"),
        (name = "events", description = "Every change of state, live"),
        (name = "hooks", description = "Calls by Orthanc"),
        (name = "orthanc", description = "The Orthanc behind us, for viewers"),
        (name = "compat", description = "What clients of older systems call"),
        (name = "service", description = "Probes and metrics")
    )
)]
pub(crate) struct ApiDoc;

impl ApiDoc {
    pub(crate) const TRY_IT_PAGE: &str = "/docs";
}

const BEARER: &str = "bearer";
const KEY_HEADER: &str = "key";
const HOOK: &str = "hook";

/// Adds to every operation who may call it and how it is refused.
pub(crate) fn complete(mut document: openapi::OpenApi) -> openapi::OpenApi {
    let components = document.components.get_or_insert_default();
    for (name, scheme) in schemes() {
        components.add_security_scheme(name, scheme);
    }
    for rule in RULES {
        let Some(item) = document.paths.paths.get_mut(rule.route) else { continue };
        if let Some(operation) = operation(item, &rule.method) {
            describe(operation, rule);
        }
    }
    document
}

fn schemes() -> [(&'static str, SecurityScheme); 3] {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An access token of /v1/auth/login, or an API key"))
        .build();
    let key = ApiKeyValue::with_description("X-API-KEY", "An API key, where Authorization is taken");
    let hook = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("webhook_secret of the source"))
        .build();
    [
        (BEARER, SecurityScheme::Http(bearer)),
        (KEY_HEADER, SecurityScheme::ApiKey(ApiKey::Header(key))),
        (HOOK, SecurityScheme::Http(hook)),
    ]
}

fn operation<'a>(item: &'a mut PathItem, method: &Method) -> Option<&'a mut Operation> {
    match method.as_str() {
        "GET" => item.get.as_mut(),
        "PUT" => item.put.as_mut(),
        "POST" => item.post.as_mut(),
        "PATCH" => item.patch.as_mut(),
        "DELETE" => item.delete.as_mut(),
        _ => None,
    }
}

fn describe(operation: &mut Operation, rule: &Rule) {
    let access = rule.access;
    let requirements: &[&str] = match access {
        Access::Open => return,
        Access::SignIn => &[],
        Access::Roles(_) => &[BEARER, KEY_HEADER],
        Access::People(_) => &[BEARER],
        Access::SourceSecret => &[HOOK],
        // By address, or by key.
        Access::PollingWorker => &[KEY_HEADER],
    };
    if let Access::Roles(roles) | Access::People(roles) = access {
        let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        operation.extensions = Some(ExtensionsBuilder::new().add("x-roles", json!(names)).build());
        refusal(operation, "403", "Not for this role");
    }
    if !requirements.is_empty() {
        let any = requirements.iter().map(|name| SecurityRequirement::new(*name, [""; 0]));
        operation.security = Some(any.collect());
        refusal(operation, "401", "Not signed in");
    }
    if idempotency::taken(&rule.method, rule.route).is_some() {
        take_idempotency_key(operation);
    }
    refusal(operation, "429", "Asked too often; see Retry-After");
    refusal(operation, "default", "Any other refusal");
    // An older contract words its refusals itself.
    let (media_type, schema) = match compat::refusal_schema(rule.route) {
        Some(schema) => ("application/json", schema),
        None => (PROBLEM_JSON, "Problem"),
    };
    give_refusals_a_body(operation, media_type, schema);
}

fn take_idempotency_key(operation: &mut Operation) {
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(idempotency::KEY_LENGTH_MAX))
        .pattern(Some("^[!-~]+$"));
    let header = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .schema(Some(key))
        .description(Some("The same key with the same request within 24 hours is carried out once"))
        .build();
    operation.parameters.get_or_insert_default().push(RefOr::T(header));
    refusal(
        operation,
        "409",
        "The key's first request is being carried out, or its answer is not known any more",
    );
    refusal(operation, "422", "The key came with another request");
}

/// What the handler itself says about a status stands.
fn refusal(operation: &mut Operation, status: &str, description: &str) {
    let response = ResponseBuilder::new().description(description).build();
    operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
}

/// Every refusal that states no body of its own has this one.
fn give_refusals_a_body(operation: &mut Operation, media_type: &str, schema: &str) {
    for (status, response) in &mut operation.responses.responses {
        let refused = status.starts_with(['4', '5']) || status == "default";
        if let RefOr::T(response) = response
            && refused
            && response.content.is_empty()
        {
            let schema = RefOr::Ref(Ref::from_schema_name(schema));
            let content = ContentBuilder::new().schema(Some(schema)).build();
            response.content.insert(media_type.to_owned(), content.into());
        }
    }
}
