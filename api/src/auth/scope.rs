//! Scopes: what a key is limited to, within what its role may.
//!
//! A scope is a family of routes and what may be done there: `studies:read`, `jobs:write`.
//! Writing includes reading. A key without scopes may do everything that its role may.

use std::str::FromStr;

use axum::http::Method;
use serde::{Deserialize, Deserializer};

use crate::compat;

/// The first part of an address under `/v1`.
const FAMILIES: &[&str] = &[
    "studies",
    "jobs",
    "results",
    "models",
    "predictions",
    "deliveries",
    "events",
    "users",
    "keys",
    "audit",
    "feedback",
    "batches",
    "patients",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    Read,
    Write,
}

/// One scope of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    family: &'static str,
    right: Right,
}

/// A text that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such scope: write one of {} and :read or :write", FAMILIES.join(", "))]
pub struct NoSuchScope;

impl FromStr for Scope {
    type Err = NoSuchScope;

    fn from_str(text: &str) -> Result<Self, NoSuchScope> {
        let (family, right) = text.split_once(':').ok_or(NoSuchScope)?;
        let family = FAMILIES.iter().find(|known| **known == family).ok_or(NoSuchScope)?;
        let right = match right {
            "read" => Right::Read,
            "write" => Right::Write,
            _ => return Err(NoSuchScope),
        };
        Ok(Self { family, right })
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let right = match self.right {
            Right::Read => "read",
            Right::Write => "write",
        };
        write!(formatter, "{}:{right}", self.family)
    }
}

/// Do `scopes`, as stored, cover a request? One that is not known here covers nothing.
pub(crate) fn cover(scopes: &[String], method: &Method, route: &str) -> bool {
    let needed = if matches!(*method, Method::GET | Method::HEAD) { Right::Read } else { Right::Write };
    let family = family_of(route);
    // Everybody may ask who he is.
    scopes.is_empty()
        || family == Some("me")
        || scopes
            .iter()
            .filter_map(|scope| scope.parse::<Scope>().ok())
            .any(|scope| Some(scope.family) == family && scope.right >= needed)
}

fn family_of(route: &str) -> Option<&str> {
    if let Some(family) = compat::family_of(route) {
        return Some(family);
    }
    let behind = route.strip_prefix("/v1/").or_else(|| route.strip_prefix("/ws/"))?;
    behind.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scopes: &[&str], method: Method, route: &str, expect: bool) {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        assert_eq!(cover(&scopes, &method, route), expect, "{scopes:?} {method} {route}");
    }

    #[test]
    fn a_key_without_scopes_is_not_limited() {
        check(&[], Method::POST, "/v1/jobs/{id}/cancel", true);
    }

    #[test]
    fn reading_is_not_writing_and_writing_includes_reading() {
        check(&["jobs:read"], Method::GET, "/v1/jobs/{id}", true);
        check(&["jobs:read"], Method::POST, "/v1/jobs/{id}/cancel", false);
        check(&["jobs:write"], Method::GET, "/v1/jobs", true);
    }

    #[test]
    fn one_family_does_not_open_another() {
        check(&["jobs:write"], Method::GET, "/v1/studies", false);
        check(&["events:read"], Method::GET, "/ws/events", true);
        check(&["jobs:read"], Method::GET, "/v1/me", true);
        check(&["something:else"], Method::GET, "/v1/jobs", false);
    }

    #[test]
    fn scopes_are_written_as_they_are_read() {
        assert_eq!("studies:write".parse::<Scope>().unwrap().to_string(), "studies:write");
        for text in ["", "studies", "studies:", "studies:admin", "moon:read"] {
            assert_eq!(text.parse::<Scope>(), Err(NoSuchScope), "{text}");
        }
    }
}
