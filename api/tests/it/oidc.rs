//! Sign-ins of an OpenID Connect provider: a real little one, whose keys rotate and which can be down.

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::{Oidc, OidcConfig, RULES};
use ledger::Role;
use peers::{Guarded, free_port, mortal, python, wait_until};
use serde_json::{Value, json};

use crate::{
    access,
    app::{Answer, TestApp, roomy},
    compat_imaging,
};

const AUDIENCE: &str = "overread";

struct Provider {
    _process: Guarded,
    address: String,
    client: reqwest::Client,
}

impl Provider {
    fn start() -> Self {
        let port = free_port();
        let mut command = mortal(python());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/oidc_provider.py")).arg(port.to_string());
        let process = Guarded::spawn(command);
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        drop(wait_until("the provider to listen", Duration::from_secs(60), listens));
        let address = format!("http://127.0.0.1:{port}");
        let client = orthanc_bridge::Connection::to(&address).unwrap().client().unwrap();
        Self { _process: process, address, client }
    }

    fn issuer(&self) -> String {
        format!("{}/realms/hospital", self.address)
    }

    async fn app(&self) -> TestApp {
        self.app_with(&[]).await
    }

    async fn app_with(&self, models: &[&str]) -> TestApp {
        let roles = Role::ALL.iter().map(|role| (format!("or-{role}"), *role)).collect::<HashMap<_, _>>();
        let config = OidcConfig {
            issuer: self.issuer(),
            audience: AUDIENCE.to_owned(),
            ca_file: None,
            role_claim: "realm_access.roles".to_owned(),
            roles,
        };
        let mut http = roomy();
        http.oidc = Some(Arc::new(Oidc::new(config).unwrap()));
        TestApp::with_models(http, models).await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(format!("{}{path}", self.address)).body(body.to_string()).send().await;
        serde_json::from_slice(&answer.unwrap().bytes().await.unwrap()).unwrap()
    }

    async fn fetches(&self) -> u64 {
        let answer = self.client.get(format!("{}/fetches", self.address)).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    async fn sign(&self, algorithm: &str, claims: &Value) -> String {
        let token = self.post("/sign", &json!({ "alg": algorithm, "claims": claims })).await;
        token.as_str().unwrap().to_owned()
    }

    /// As the provider says it of a person who signed in a minute ago.
    fn claims(&self, app: &TestApp, subject: &str, role: Role) -> Value {
        let now = app.now().0 / 1000;
        json!({
            "iss": self.issuer(), "aud": ["account", AUDIENCE], "sub": subject, "name": "Kim Minji",
            "iat": now, "exp": now + 600, "auth_time": now - 60, "jti": uuid::Uuid::new_v4().to_string(),
            "realm_access": { "roles": ["offline_access", format!("or-{role}")] },
        })
    }

    async fn person(&self, app: &TestApp, subject: &str, role: Role) -> String {
        self.sign("RS256", &self.claims(app, subject, role)).await
    }
}

async fn me(app: &TestApp, token: &str) -> Answer {
    app.get("/v1/me").bearer(token).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_provider_is_a_sign_in_with_an_account_of_its_own() {
    let provider = Provider::start();
    let app = provider.app().await;
    // A person here with the same name is somebody else.
    app.account("kim", Role::Admin).await;
    for algorithm in ["RS256", "ES256"] {
        let token = provider.sign(algorithm, &provider.claims(&app, "kim", Role::Doctor)).await;
        let seen = me(&app, &token).await.is(200).json();
        assert_eq!(
            (&seen["name"], &seen["role"]),
            (&json!("oidc:kim"), &json!("doctor")),
            "{algorithm}: {seen}"
        );
        assert_eq!(me(&app, &token).await.is(200).json(), seen);
    }
    assert_eq!(provider.fetches().await, 1);
    // Another role tomorrow is another role here.
    let token = provider.person(&app, "kim", Role::Technician).await;
    assert_eq!(me(&app, &token).await.is(200).json()["role"], "technician");
    // No password opens the account.
    let login = json!({ "name": "oidc:kim", "password": "" });
    app.post("/v1/auth/login").json(&login).send().await.is_problem(401, "bad_credentials");

    app.post("/v1/auth/logout").bearer(&token).json(&json!({})).send().await.is(204);
    me(&app, &token).await.is_problem(401, "bad_credentials");
    let token = provider.person(&app, "kim", Role::Doctor).await;
    me(&app, &token).await.is(200);
    app.ledger.disable_account("oidc:kim", "test", app.now()).await.unwrap();
    me(&app, &token).await.is_problem(401, "bad_credentials");
    let token = provider.person(&app, "kim", Role::Doctor).await;
    me(&app, &token).await.is_problem(401, "bad_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_like_a_token_of_the_provider_opens_nothing() {
    let provider = Provider::start();
    let app = provider.app().await;
    let now = app.now().0 / 1000;
    let good = provider.claims(&app, "kim", Role::Doctor);
    for (claim, value, code) in [
        ("exp", json!(now - 61), "token_expired"),
        ("nbf", json!(now + 120), "bad_credentials"),
        ("iss", json!("https://other.example"), "bad_credentials"),
        ("aud", json!("another-service"), "bad_credentials"),
        ("aud", Value::Null, "bad_credentials"),
        ("exp", Value::Null, "bad_credentials"),
        ("sub", json!("two words"), "bad_credentials"),
        ("sub", Value::Null, "bad_credentials"),
    ] {
        let mut claims = good.clone();
        claims[claim] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        }
        let token = provider.sign("RS256", &claims).await;
        let answer = me(&app, &token).await;
        assert_eq!(answer.json()["code"], code, "{claim} = {value}: {}", answer.text());
    }
    let mut nobody = good.clone();
    nobody["realm_access"] = json!({ "roles": ["visitor"] });
    me(&app, &provider.sign("RS256", &nobody).await).await.is_problem(403, "forbidden");
    // The name of a key that is not for signatures, of one of another kind, and of one that nobody has.
    for id in ["for-secrets", "later", "ec-1", "never"] {
        let asked = json!({ "alg": "RS256", "kid": id, "claims": good });
        let token = provider.post("/sign", &asked).await.as_str().unwrap().to_owned();
        me(&app, &token).await.is_problem(401, "bad_credentials");
    }
    let token = provider.person(&app, "kim", Role::Doctor).await;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let swapped = if signature.starts_with('A') { 'B' } else { 'A' };
    let tampered = format!("{head}.{swapped}{}", &signature[1..]);
    me(&app, &tampered).await.is_problem(401, "bad_credentials");
    me(&app, &format!("eyJhbGciOiJub25lIn0.{}.", head.split_once('.').unwrap().1))
        .await
        .is_problem(401, "bad_credentials");
    me(&app, &token).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_by_themselves_and_invented_ones_are_not_asked_for_again_and_again() {
    let provider = Provider::start();
    let app = provider.app().await;
    let old = provider.person(&app, "kim", Role::Doctor).await;
    me(&app, &old).await.is(200);
    provider.post("/rotate", &json!({})).await;
    let new = provider.person(&app, "kim", Role::Doctor).await;
    app.pass(Duration::from_secs(31));
    me(&app, &new).await.is(200);
    assert_eq!(provider.fetches().await, 2, "one more for the new key");
    me(&app, &old).await.is_problem(401, "bad_credentials");
    for number in 0..20 {
        let asked = json!({ "kid": format!("made-up-{number}"), "claims": provider.claims(&app, "kim", Role::Doctor) });
        let token = provider.post("/sign", &asked).await.as_str().unwrap().to_owned();
        me(&app, &token).await.is_problem(401, "bad_credentials");
    }
    assert_eq!(provider.fetches().await, 2, "nobody asks again so soon");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_costs_nothing_while_its_keys_are_known() {
    let provider = Provider::start();
    let app = provider.app().await;
    let fresh = provider.app().await;
    let long = |app: &TestApp| {
        let mut claims = provider.claims(app, "kim", Role::Doctor);
        claims["exp"] = json!(app.now().0 / 1000 + 1_000_000);
        claims
    };
    let token = provider.sign("RS256", &long(&app)).await;
    me(&app, &token).await.is(200);
    provider.post("/break", &json!({})).await;
    me(&app, &token).await.is(200);
    app.pass(Duration::from_secs(11 * 60));
    me(&app, &token).await.is(200);
    let refused = me(&fresh, &token).await;
    refused.is_problem(503, "unavailable");
    assert!(!refused.header("retry-after").is_empty());
    app.pass(Duration::from_secs(24 * 60 * 60));
    me(&app, &token).await.is_problem(503, "unavailable");
    provider.post("/mend", &json!({})).await;
    app.pass(Duration::from_secs(31));
    me(&app, &token).await.is(200);
}

/// The table again, for whoever comes by the provider: a person as by a sign-in here, a program as by a key, and
/// what has expired or is another issuer's nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_the_roles_of_the_table_by_the_provider() {
    let provider = Provider::start();
    let app = provider.app_with(&["meso", "ct-brain-class"]).await;
    let now = app.now().0 / 1000;
    let mut bad = Vec::new();
    for (claim, value, code) in [
        ("exp", json!(now - 61), "token_expired"),
        ("iss", json!("https://other.example"), "bad_credentials"),
        ("aud", json!("other"), "bad_credentials"),
    ] {
        let mut claims = provider.claims(&app, "bad", Role::Admin);
        claims[claim] = value;
        bad.push((provider.sign("RS256", &claims).await, code));
    }
    let mut programs = HashMap::new();
    for role in Role::ALL {
        let mut claims = provider.claims(&app, &format!("program-{role}"), *role);
        claims.as_object_mut().unwrap().remove("auth_time");
        programs.insert(*role, provider.sign("ES256", &claims).await);
    }
    for rule in RULES {
        let Some((roles, takes_keys)) = access::admitted(rule.access) else { continue };
        for (token, code) in &bad {
            let answer = access::call(&app, &rule.method, rule.route, Some(token)).await;
            access::is_refused(rule.route, &answer, 401, code);
        }
        for role in Role::ALL {
            let name = format!("{} {} as {role}", rule.method, rule.route);
            // One of them signs out.
            let token =
                provider.sign("ES256", &provider.claims(&app, &format!("person-{role}"), *role)).await;
            let person = access::call(&app, &rule.method, rule.route, Some(&token)).await;
            access::check(rule.route, &person, roles.contains(role), &format!("{name}, a person"));
            let program = access::call(&app, &rule.method, rule.route, Some(&programs[role])).await;
            access::check(
                rule.route,
                &program,
                takes_keys && roles.contains(role),
                &format!("{name}, a program"),
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_the_provider_verifies_no_prediction() {
    let provider = Provider::start();
    let app = provider.app_with(&["ct-brain-class"]).await;
    let technician = app.key(Role::Technician).await;
    let file = std::fs::read(&compat_imaging::ct_files()[0]).unwrap();
    let made = compat_imaging::classify(&app, &technician, &file, "false").await.is(200).json();
    let body = json!({ "prediction_id": made["prediction_id"], "correct": true });
    let say = |token: &str| app.post("/feedback").bearer(token).json(&body).send();
    let mut claims = provider.claims(&app, "batch", Role::Doctor);
    claims.as_object_mut().unwrap().remove("auth_time");
    let program = provider.sign("RS256", &claims).await;
    let answer = say(&program).await.is(200).json();
    assert_eq!((&answer["status"], &answer["verified_by_doctor"]), (&json!("PENDING_REVIEW"), &json!(false)));
    let person = provider.person(&app, "kim", Role::Doctor).await;
    assert_eq!(say(&person).await.is(200).json()["status"], "CONFIRMED");
}
