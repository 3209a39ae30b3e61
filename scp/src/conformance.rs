//! The DICOM conformance statement (PS3.2), written from the tables that the code works by.

use std::fmt::Write;

use spool::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};

use crate::{
    config::{Limits, Timeouts},
    pdu::{APPLICATION_CONTEXT_NAME, Rejection},
    sop_class::{self, STORAGE_COMMITMENT_PUSH, VERIFICATION},
    status::Status,
    transfer_syntax,
};

const TEXT: &str = include_str!("conformance/statement.md");

/// The whole statement, as `docs/CONFORMANCE.md` has it.
pub fn conformance_statement() -> String {
    [
        ("{implementation}", implementation()),
        ("{storage-classes}", storage_classes()),
        ("{transfer-syntaxes}", transfer_syntaxes()),
        ("{store-statuses}", store_statuses()),
        ("{rejections}", rejections()),
        ("{limits}", limits()),
        ("{verification}", VERIFICATION.to_owned()),
        ("{commitment}", STORAGE_COMMITMENT_PUSH.to_owned()),
    ]
    .into_iter()
    .fold(TEXT.to_owned(), |text, (name, value)| text.replace(name, value.trim_end()))
}

fn table<const COLUMNS: usize>(
    head: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(COLUMNS));
    for row in rows {
        writeln!(out, "| {} |", row.join(" | ")).expect("writing to a string cannot fail");
    }
    out
}

fn implementation() -> String {
    table(
        ["item", "value"],
        [
            ["Application Context Name".to_owned(), APPLICATION_CONTEXT_NAME.to_owned()],
            ["Implementation Class UID".to_owned(), IMPLEMENTATION_CLASS_UID.to_owned()],
            ["Implementation Version Name".to_owned(), IMPLEMENTATION_VERSION_NAME.to_owned()],
        ],
    )
}

fn storage_classes() -> String {
    let classes = sop_class::all_storage();
    table(["SOP class", "UID"], classes.into_iter().map(|(uid, name)| [name.to_owned(), uid]))
}

fn transfer_syntaxes() -> String {
    let syntaxes = transfer_syntax::all();
    table(
        ["transfer syntax", "UID"],
        syntaxes.into_iter().map(|(uid, name)| [name.to_owned(), uid.to_owned()]),
    )
}

fn store_statuses() -> String {
    let rows =
        Status::STORE_ANSWERS.iter().map(|(status, meaning)| [status.to_string(), (*meaning).to_owned()]);
    table(["status", "meaning"], rows)
}

fn rejections() -> String {
    let rows = [
        (Rejection::ApplicationContextNotSupported, "the application context is not DICOM's"),
        (Rejection::CallingAeTitleNotRecognized, "no rule lets this calling AE title in from this address"),
        (Rejection::CalledAeTitleNotRecognized, "the called AE title is none of ours"),
        (Rejection::NoReasonGiven, "users or tokens are configured and the user identity is none of them"),
        (Rejection::ProtocolVersionNotSupported, "version 1 (bit 0) of the protocol is not offered"),
        (Rejection::TemporaryCongestion, "the disk is full or below its watermark"),
        (Rejection::LocalLimitExceeded, "too many associations, in all or from this address"),
    ];
    let rows = rows.map(|(rejection, when)| {
        let [result, source, reason] = rejection.codes().map(|code| code.to_string());
        [result, source, reason, when.to_owned()]
    });
    table(["result", "source", "reason", "when"], rows)
}

fn limits() -> String {
    let (limits, timeouts) = (Limits::default(), Timeouts::default());
    let seconds = |duration: std::time::Duration| format!("{} s", duration.as_secs());
    let rows = [
        ("associations at once", limits.associations_max.to_string(), "dicom.associations_max"),
        (
            "associations at once from one address",
            limits.associations_per_peer_max.to_string(),
            "dicom.associations_per_peer_max",
        ),
        ("longest PDU received", format!("{} bytes", limits.pdu_bytes_max), "dicom.pdu_bytes_max"),
        (
            "longest data set of one instance",
            format!("{} GiB", limits.dataset_bytes_max >> 30),
            "dicom.dataset_bytes_max",
        ),
        ("ARTIM timer", seconds(timeouts.artim), "dicom.timeouts.artim_seconds"),
        ("for the rest of a PDU", seconds(timeouts.pdu), "dicom.timeouts.pdu_seconds"),
        ("for a whole message", seconds(timeouts.message), "dicom.timeouts.message_seconds"),
        ("between messages", seconds(timeouts.idle), "dicom.timeouts.idle_seconds"),
        ("for the peer to take what is sent", seconds(timeouts.write), "dicom.timeouts.write_seconds"),
        ("for messages under way when the service ends", seconds(timeouts.grace), "limits.shutdown_seconds"),
    ];
    let rows = rows.map(|(what, default, key)| [what.to_owned(), default, format!("`{key}`")]);
    table(["parameter", "default", "setting"], rows)
}
