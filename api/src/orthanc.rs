//! What may be asked of the Orthanc behind us, and by whom.
//!
//! A viewer in a browser needs no password of Orthanc: it shows us who it is, and what passes
//! here goes on with our credentials. Everything that is not in the table stays here, so that no
//! script, no deletion and no setting of Orthanc can be reached.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::Method;
use imaging::Uid;
use ledger::{Millis, Role};

use crate::auth::{Clinician, Reader};

/// One way through: method, path, roles. `*` is any one part of a path, `**` whatever follows.
struct Way(Method, &'static [&'static str], &'static [Role]);

const READERS: &[Role] = Reader::ROLES;
const CLINICIANS: &[Role] = Clinician::ROLES;

static WAYS: &[Way] = &[
    Way(Method::GET, &["system"], READERS),
    Way(Method::GET, &["statistics"], READERS),
    Way(Method::GET, &["patients", "**"], CLINICIANS),
    Way(Method::GET, &["studies", "**"], CLINICIANS),
    Way(Method::GET, &["series", "**"], CLINICIANS),
    Way(Method::GET, &["instances", "**"], CLINICIANS),
    Way(Method::GET, &["dicom-web", "studies", "**"], CLINICIANS),
    Way(Method::GET, &["dicom-web", "series", "**"], CLINICIANS),
    Way(Method::GET, &["dicom-web", "instances", "**"], CLINICIANS),
    Way(Method::GET, &["wado"], CLINICIANS),
    Way(Method::POST, &["tools", "find"], CLINICIANS),
    Way(Method::POST, &["tools", "lookup"], CLINICIANS),
    Way(Method::POST, &["instances"], CLINICIANS),
    Way(Method::POST, &["dicom-web", "studies"], CLINICIANS),
    Way(Method::POST, &["dicom-web", "studies", "*"], CLINICIANS),
];

/// Whether there is such a way at all, and for this role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    Open,
    OtherRole,
    None,
}

/// More than four UIDs and the words between them.
const LENGTH_MAX: usize = 512;

/// A path below Orthanc that was checked: parts of letters, digits and a few signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrthancPath(Vec<String>);

impl OrthancPath {
    /// The path as it was sent; nothing that Orthanc could read in another way than we do.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let is_plain = |part: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-,".contains(&byte);
            !part.is_empty() && part.bytes().all(plain) && part.bytes().any(|byte| byte != b'.')
        };
        if path.len() > LENGTH_MAX {
            return None;
        }
        let parts: Vec<_> = path.split('/').map(str::to_owned).collect();
        parts.iter().all(|part| is_plain(part)).then_some(Self(parts))
    }

    pub(crate) fn passage(&self, method: &Method, role: Role) -> Passage {
        let ways: Vec<_> =
            WAYS.iter().filter(|Way(allowed, pattern, _)| allowed == method && self.fits(pattern)).collect();
        if ways.is_empty() {
            Passage::None
        } else if ways.iter().any(|Way(_, _, roles)| roles.contains(&role)) {
            Passage::Open
        } else {
            Passage::OtherRole
        }
    }

    fn fits(&self, pattern: &[&str]) -> bool {
        let (pattern, is_open) = match pattern {
            [fixed @ .., "**"] => (fixed, true),
            fixed => (fixed, false),
        };
        let enough = if is_open { self.0.len() >= pattern.len() } else { self.0.len() == pattern.len() };
        enough && pattern.iter().zip(&self.0).all(|(wanted, part)| *wanted == "*" || wanted == part)
    }

    /// The patient, study, series or instance that is asked for, or the list of all.
    pub(crate) fn resource(&self) -> String {
        let length = if self.is_dicom_web() { 3 } else { 2 };
        self.0[..self.0.len().min(length)].join("/")
    }

    fn is_dicom_web(&self) -> bool {
        self.0.first().is_some_and(|first| first == "dicom-web")
    }

    /// What is looked at by a GET with this query.
    pub(crate) fn look(&self, query: &str) -> Look {
        match self.0.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["wado"] => wado(query),
            ["patients" | "studies" | "series" | "instances"] | ["dicom-web", _] => {
                Look::Search(self.resource())
            }
            _ => Look::At(self.resource()),
        }
    }
}

/// What a caller sees, as far as the address says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// One thing; whoever looks at it again a little later goes on looking.
    At(String),
    /// Whatever fits, which is other people each time.
    Search(String),
    /// Something of which the address does not say in words of ours what it is.
    Unnamed(String),
}

/// PS3.18 §9: all is in the query. Orthanc finds the object by its own UID and compares the study's with it.
fn wado(query: &str) -> Look {
    let named = ["studyUID", "objectUID"].iter().find_map(|name| only_uid(query, name));
    named.map_or(Look::Unnamed("wado".to_owned()), |uid| Look::At(format!("wado/{uid}")))
}

/// The parameter, if it is there once and is a UID as it stands: what is encoded could be read in two ways.
fn only_uid(query: &str, name: &str) -> Option<Uid> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Uid::parse(value).ok(),
        _ => None,
    }
}

impl std::fmt::Display for OrthancPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.join("/"))
    }
}

/// A viewer asks for a study a thousand times while somebody looks at it once.
const LOOK_LASTS: Duration = Duration::from_secs(60 * 60);
const LOOKS_MAX: usize = 10_000;

/// Who has looked at what lately.
#[derive(Debug, Default)]
pub(crate) struct Looked(Mutex<HashMap<(String, String), Millis>>);

impl Looked {
    /// Whether this is a look of its own, to be noted, and no other part of the last one.
    pub(crate) fn is_new(&self, actor: &str, resource: &str, now: Millis) -> bool {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = looks.get(&(actor.to_owned(), resource.to_owned()));
        known.is_none_or(|at| now.since(*at) >= LOOK_LASTS)
    }

    pub(crate) fn remember(&self, actor: &str, resource: &str, now: Millis) {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() >= LOOKS_MAX {
            looks.retain(|_, at| now.since(*at) < LOOK_LASTS);
        }
        if looks.len() >= LOOKS_MAX {
            // Then a look is noted more often than it need be.
            looks.clear();
        }
        looks.insert((actor.to_owned(), resource.to_owned()), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, role: Role, expect: Option<Passage>) {
        let passage = OrthancPath::parse(path).map(|path| path.passage(&method, role));
        assert_eq!(passage, expect, "{method} {path} as {role}");
    }

    #[test]
    fn clinicians_read_and_store_and_find() {
        for role in CLINICIANS {
            for path in
                ["system", "studies", "studies/0a49bedc-11223344/series", "dicom-web/studies/1.2/metadata"]
            {
                check(Method::GET, path, *role, Some(Passage::Open));
            }
            for path in ["tools/find", "instances", "dicom-web/studies", "dicom-web/studies/1.2"] {
                check(Method::POST, path, *role, Some(Passage::Open));
            }
        }
    }

    #[test]
    fn who_runs_the_service_sees_no_patient() {
        check(Method::GET, "statistics", Role::Admin, Some(Passage::Open));
        check(Method::GET, "studies", Role::Admin, Some(Passage::OtherRole));
        check(Method::GET, "dicom-web/studies", Role::Admin, Some(Passage::OtherRole));
        check(Method::GET, "system", Role::Worker, Some(Passage::OtherRole));
    }

    #[test]
    fn nothing_that_changes_orthanc_or_shows_its_settings_is_reached() {
        for path in ["tools/execute-script", "tools/shutdown", "modalities/PACS/store", "studies/1/anonymize"]
        {
            check(Method::POST, path, Role::Service, Some(Passage::None));
        }
        for path in ["modalities", "peers", "plugins", "app/explorer.html", "dicom-web/servers", "dicom-web"]
        {
            check(Method::GET, path, Role::Doctor, Some(Passage::None));
        }
        check(Method::DELETE, "studies/1", Role::Doctor, Some(Passage::None));
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_none() {
        let strange =
            ["", "studies/", "/studies", "studies//1", "studies/..", "studies/../tools", "studies/."];
        let encoded =
            ["studies/%2e%2e/tools", "studies%2f1", "studies\\1", "studies/1%00", "http://h/", "a b"];
        for path in strange.into_iter().chain(encoded) {
            check(Method::GET, path, Role::Doctor, None);
        }
        check(Method::GET, &format!("studies/{}", "1".repeat(LENGTH_MAX)), Role::Doctor, None);
    }

    #[track_caller]
    fn looks(path: &str, query: &str, expect: Look) {
        assert_eq!(OrthancPath::parse(path).unwrap().look(query), expect, "{path}?{query}");
    }

    #[test]
    fn a_wado_request_names_its_study() {
        looks("wado", "requestType=WADO&studyUID=1.2.3&objectUID=1.2.4", Look::At("wado/1.2.3".to_owned()));
        looks("wado", "objectUID=1.2.4", Look::At("wado/1.2.4".to_owned()));
        for query in ["", "studyUID=Doe^Jane", "studyUID=%31.2", "studyUID=1.2&studyUID=1.3", "studyuid=1.2"]
        {
            looks("wado", query, Look::Unnamed("wado".to_owned()));
        }
    }

    #[test]
    fn a_list_is_a_search_and_what_is_in_one_study_is_no_list() {
        for path in ["patients", "studies", "dicom-web/studies", "dicom-web/series", "dicom-web/instances"] {
            looks(path, "PatientID=1", Look::Search(path.to_owned()));
        }
        looks("dicom-web/studies/1.2/series", "", Look::At("dicom-web/studies/1.2".to_owned()));
        looks("studies/0a49bedc-11223344/series", "", Look::At("studies/0a49bedc-11223344".to_owned()));
        looks("system", "", Look::At("system".to_owned()));
    }

    #[test]
    fn a_look_is_noted_once_an_hour() {
        let looked = Looked::default();
        let start = Millis(0);
        assert!(looked.is_new("kim", "studies/1", start));
        looked.remember("kim", "studies/1", start);
        assert!(!looked.is_new("kim", "studies/1", start.plus(Duration::from_secs(3599))));
        assert!(looked.is_new("kim", "studies/1", start.plus(LOOK_LASTS)));
        assert!(looked.is_new("lee", "studies/1", start) && looked.is_new("kim", "studies/2", start));
    }
}
