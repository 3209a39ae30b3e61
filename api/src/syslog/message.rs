//! A row of the audit trail as a DICOM audit message (PS3.15 Annex A.5).
//!
//! What a deed is called there is told where the standard has a word; any other keeps its own name under the scheme
//! `99OVERREAD`, which CID 400 leaves room for. No message names a patient, because no row does: the participant objects are studies,
//! results and accounts.

use base64::{Engine, engine::general_purpose::STANDARD};
use ledger::AuditRow;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Who sends the messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The name of the machine, as RFC 5424 wants it.
    pub(crate) host: String,
    pub(crate) node: String,
}

/// A coded value: DCM unless it is ours.
struct Coded {
    code: String,
    scheme: &'static str,
    text: String,
}

struct Event {
    id: Coded,
    kind: Option<Coded>,
    /// C, R, U, D or E (RFC 3881 §5.1.2).
    action: char,
    /// 0 success, 4 minor failure (RFC 3881 §5.1.4).
    outcome: u8,
}

fn dcm(code: &str, text: &str) -> Coded {
    Coded { code: code.to_owned(), scheme: "DCM", text: text.to_owned() }
}

/// PS3.16 CID 400 and CID 401.
fn event(action: &str) -> Event {
    let known = |id, kind, action| Event { id, kind, action, outcome: 0 };
    let login = |outcome| Event {
        id: dcm("110114", "User Authentication"),
        kind: Some(dcm("110122", "Login")),
        action: 'E',
        outcome,
    };
    let security = |code, text| known(dcm("110113", "Security Alert"), Some(dcm(code, text)), 'E');
    match action {
        "auth.login" | "auth.one-time" | "auth.oidc" => login(0),
        "auth.login-failed" | "auth.login-locked" | "auth.one-time-failed" | "auth.refresh-replayed" => {
            login(4)
        }
        "auth.logout" => known(dcm("110114", "User Authentication"), Some(dcm("110123", "Logout")), 'E'),
        "feedback.export" => known(dcm("110106", "Export"), None, 'R'),
        "study.upload" => known(dcm("110107", "Import"), None, 'C'),
        "study.list" => known(dcm("110112", "Query"), None, 'E'),
        "study.read" | "result.read" | "artifact.download" | "orthanc.read" | "prediction.read" => {
            known(dcm("110103", "DICOM Instances Accessed"), None, 'R')
        }
        "user.role" => security("110136", "Security Roles Changed"),
        action
            if action.starts_with("user.")
                || action.starts_with("key.")
                || action.starts_with("account.") =>
        {
            security("110137", "User Security Attributes Changed")
        }
        "models.reload" | "model.promote" | "model.discard" => security("110131", "Software Configuration"),
        other => {
            let id = Coded { code: other.to_owned(), scheme: "99OVERREAD", text: other.to_owned() };
            known(id, None, if other.starts_with("result.") { 'U' } else { 'E' })
        }
    }
}

/// The XML of a row.
pub(crate) fn xml(row: &AuditRow, source: &Source) -> String {
    let event = event(&row.action);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><AuditMessage>");
    text += &format!(
        "<EventIdentification EventActionCode=\"{}\" EventDateTime=\"{}\" EventOutcomeIndicator=\"{}\">",
        event.action,
        moment(row),
        event.outcome
    );
    text += &coded("EventID", &event.id);
    text += &event.kind.as_ref().map(|kind| coded("EventTypeCode", kind)).unwrap_or_default();
    text += "</EventIdentification>";
    text += &format!("<ActiveParticipant UserID=\"{}\" UserIsRequestor=\"true\"/>", attribute(&row.actor));
    let process = std::process::id();
    text += &format!(
        "<ActiveParticipant UserID=\"{}\" AlternativeUserID=\"{process}\" UserIsRequestor=\"false\">",
        attribute(&source.node)
    );
    text += &coded("RoleIDCode", &dcm("110150", "Application"));
    text += "</ActiveParticipant>";
    text += &format!("<AuditSourceIdentification AuditSourceID=\"{}\">", attribute(&source.node));
    // PS3.15 A.5.1: 4 is an application server.
    text += "<AuditSourceTypeCode csd-code=\"4\"/></AuditSourceIdentification>";
    text += &object(row);
    text + "</AuditMessage>"
}

/// What it was done to, and where in the trail the row is.
fn object(row: &AuditRow) -> String {
    let is_study =
        !row.subject.is_empty() && row.subject.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let (kind, role, code) = match row.action.split('.').next() {
        _ if is_study => ("2", "3", dcm("110180", "Study Instance UID")),
        // RFC 3881 §5.5.4: 11 is a user's identifier.
        Some("user" | "auth" | "account") => (
            "1",
            "11",
            Coded { code: "11".to_owned(), scheme: "RFC-3881", text: "User Identifier".to_owned() },
        ),
        _ => {
            ("2", "3", Coded { code: "subject".to_owned(), scheme: "99OVERREAD", text: "Subject".to_owned() })
        }
    };
    let mut text = format!(
        "<ParticipantObjectIdentification ParticipantObjectID=\"{}\" ParticipantObjectTypeCode=\"{kind}\" \
         ParticipantObjectTypeCodeRole=\"{role}\">",
        attribute(if row.subject.is_empty() { "-" } else { &row.subject })
    );
    text += &coded("ParticipantObjectIDTypeCode", &code);
    let request = row.request_id.clone().unwrap_or_default();
    let details = [
        ("seq", row.seq.to_string()),
        ("mac", row.mac.clone()),
        ("request", request),
        ("detail", row.detail.to_string()),
    ];
    for (name, value) in details.iter().filter(|(_, value)| !value.is_empty()) {
        let value = STANDARD.encode(value);
        text += &format!("<ParticipantObjectDetail type=\"{name}\" value=\"{value}\"/>");
    }
    text + "</ParticipantObjectIdentification>"
}

fn coded(element: &str, coded: &Coded) -> String {
    format!(
        "<{element} csd-code=\"{}\" codeSystemName=\"{}\" originalText=\"{}\"/>",
        attribute(&coded.code),
        coded.scheme,
        attribute(&coded.text)
    )
}

/// XML 1.0 §2.2 and §2.4: what may not stand in an attribute is written otherwise or left out.
fn attribute(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {}
            letter => safe.push(letter),
        }
    }
    safe
}

fn moment(row: &AuditRow) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(row.at.0) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// The message as RFC 5424 wraps it: facility 10 (security), severity 5 (notice), and a byte order mark that says UTF-8.
pub(crate) fn syslog(row: &AuditRow, source: &Source) -> Vec<u8> {
    let process = std::process::id();
    let head = format!("<85>1 {} {} overread {process} DICOM+RFC3881 - \u{feff}", moment(row), source.host);
    let mut message = head.into_bytes();
    message.extend(xml(row, source).into_bytes());
    message
}

#[cfg(test)]
mod tests {
    use ledger::Millis;
    use serde_json::json;

    use super::*;

    fn row(action: &str, subject: &str) -> AuditRow {
        AuditRow {
            seq: 7,
            at: Millis(1_700_000_000_000),
            actor: "account:kim <\"&".to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            request_id: None,
            detail: json!({ "rows": 3 }),
            mac: "ab".to_owned(),
        }
    }

    fn source() -> Source {
        Source { host: "ward-7".to_owned(), node: "ward-7-0a0b0c".to_owned() }
    }

    #[test]
    fn a_reading_of_a_study_is_instances_accessed() {
        let text = xml(&row("study.read", "1.2.840.1"), &source());
        for part in [
            "EventActionCode=\"R\" EventDateTime=\"2023-11-14T22:13:20Z\" EventOutcomeIndicator=\"0\"",
            "<EventID csd-code=\"110103\" codeSystemName=\"DCM\" originalText=\"DICOM Instances Accessed\"/>",
            "UserID=\"account:kim &lt;&quot;&amp;\" UserIsRequestor=\"true\"",
            "ParticipantObjectID=\"1.2.840.1\" ParticipantObjectTypeCode=\"2\" ParticipantObjectTypeCodeRole=\"3\"",
            "csd-code=\"110180\"",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn deeds_have_the_words_of_the_standard_where_it_has_any() {
        for (action, code, outcome) in [
            ("auth.login", "110122", 0),
            ("auth.login-failed", "110122", 4),
            ("auth.logout", "110123", 0),
            ("feedback.export", "110106", 0),
            ("study.upload", "110107", 0),
            ("user.role", "110136", 0),
            ("key.add", "110137", 0),
            ("model.promote", "110131", 0),
            ("result.accept", "result.accept", 0),
        ] {
            let text = xml(&row(action, "x"), &source());
            assert!(text.contains(&format!("csd-code=\"{code}\"")), "{action}: {text}");
            assert!(text.contains(&format!("EventOutcomeIndicator=\"{outcome}\"")), "{action}: {text}");
        }
    }

    #[test]
    fn syslog_says_that_it_is_utf8() {
        let message = syslog(&row("study.read", "1.2"), &source());
        let text = String::from_utf8(message).unwrap();
        assert!(text.starts_with("<85>1 2023-11-14T22:13:20Z ward-7 overread "), "{text}");
        assert!(text.contains(" DICOM+RFC3881 - \u{feff}<?xml"), "{text}");
    }
}
