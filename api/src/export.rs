//! Reviewed cases as a set of examples: an archive with a manifest, tables, and the images themselves,
//! without the people.
//!
//! What doctors said is the truth of a case; who they and the patients are is not in it. The same
//! patient has the same name in every export of an installation, so that no one stands on both sides
//! of a split between training and test.

mod gather;
mod place;
mod stream;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
};

pub(crate) use gather::{GatherError, gather};
use place::{Folder, Place, Zip};
pub(crate) use stream::{Exports, streamed};

use ledger::{DecidedCase, ReviewedPrediction};
use results::{DEIDENTIFICATION_METHOD, Pseudonyms, deidentify};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{feedback, view::timestamp};

/// What goes into an export, as the ledger has it.
#[derive(Debug, Clone)]
pub(crate) struct Reviewed {
    pub(crate) model: String,
    pub(crate) made_at: ledger::Millis,
    pub(crate) predictions: Vec<ReviewedPrediction>,
    pub(crate) cases: Vec<ReviewedCase>,
}

/// A result, its images and its segmentations.
#[derive(Debug, Clone)]
pub(crate) struct ReviewedCase {
    pub(crate) case: DecidedCase,
    /// Whose images these are, for keeping a person's cases together; never written anywhere.
    pub(crate) patient: String,
    pub(crate) images: Vec<PathBuf>,
    /// By what they are: `seg` of the model, or of the doctor who mended it.
    pub(crate) segmentations: Vec<(String, PathBuf)>,
}

#[derive(Debug, Serialize)]
struct Manifest<'a> {
    format: u32,
    model: &'a str,
    made_at: String,
    deidentification: Deidentification,
    predictions: usize,
    cases: usize,
    left_out: Vec<LeftOut>,
    files: Vec<Listed>,
}

/// How, in the words of PS3.15.
#[derive(Debug, Serialize)]
struct Deidentification {
    method: &'static str,
    profile: &'static str,
    options: [&'static str; 0],
}

/// A file that did not leave the house.
#[derive(Debug, Serialize)]
struct LeftOut {
    case: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    bytes: usize,
    sha256: String,
}

/// Why an export could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("cannot write the archive")]
    Archive(#[from] zip::result::ZipError),
    #[error("cannot write the archive")]
    Write(#[from] std::io::Error),
    #[error("cannot write the manifest")]
    Manifest(#[from] serde_json::Error),
}

/// Writes the archive, file after file, to whoever takes it.
pub(crate) fn zipped(
    reviewed: &Reviewed,
    pseudonyms: &Pseudonyms,
    into: impl Write,
) -> Result<(), ExportError> {
    write(reviewed, pseudonyms, Zip::new(into))?.finish()
}

/// Writes the same as files below an empty folder.
pub(crate) fn unpacked(reviewed: &Reviewed, pseudonyms: &Pseudonyms, into: &Path) -> Result<(), ExportError> {
    write(reviewed, pseudonyms, Folder::new(into)).map(drop)
}

fn write<P: Place>(reviewed: &Reviewed, pseudonyms: &Pseudonyms, into: P) -> Result<P, ExportError> {
    let mut set = Set { place: into, files: Vec::new(), left_out: Vec::new() };
    if !reviewed.predictions.is_empty() {
        set.add("predictions.csv", predictions_csv(&reviewed.predictions, pseudonyms).as_bytes())?;
    }
    if !reviewed.cases.is_empty() {
        set.add("cases.csv", cases_csv(&reviewed.cases, pseudonyms).as_bytes())?;
    }
    for one in &reviewed.cases {
        set.add_case(one, pseudonyms)?;
    }
    let manifest = Manifest {
        format: 1,
        model: &reviewed.model,
        made_at: timestamp(reviewed.made_at),
        deidentification: Deidentification {
            method: DEIDENTIFICATION_METHOD,
            profile: "113100, DCM, Basic Application Confidentiality Profile",
            options: [],
        },
        predictions: reviewed.predictions.len(),
        cases: reviewed.cases.len(),
        left_out: std::mem::take(&mut set.left_out),
        files: std::mem::take(&mut set.files),
    };
    let text = serde_json::to_vec_pretty(&manifest)?;
    set.add("manifest.json", &text)?;
    Ok(set.place)
}

struct Set<P> {
    place: P,
    files: Vec<Listed>,
    left_out: Vec<LeftOut>,
}

impl<P: Place> Set<P> {
    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        self.place.put(name, bytes)?;
        let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        self.files.push(Listed { name: name.to_owned(), bytes: bytes.len(), sha256 });
        Ok(())
    }

    fn add_case(&mut self, one: &ReviewedCase, pseudonyms: &Pseudonyms) -> Result<(), ExportError> {
        let case = case_name(&one.case, pseudonyms);
        for (path, number) in one.images.iter().zip(1..) {
            self.add_object(&case, &format!("cases/{case}/images/{number:05}.dcm"), path, pseudonyms)?;
        }
        for ((role, path), number) in one.segmentations.iter().zip(1..) {
            self.add_object(&case, &format!("cases/{case}/{role}-{number}.dcm"), path, pseudonyms)?;
        }
        Ok(())
    }

    /// One that cannot be read or could show a name is left out, and the manifest says so.
    fn add_object(
        &mut self,
        case: &str,
        name: &str,
        path: &PathBuf,
        pseudonyms: &Pseudonyms,
    ) -> Result<(), ExportError> {
        let reason = match dicom_object::open_file(path) {
            Ok(object) => match deidentify(&object, pseudonyms) {
                Ok(bytes) => return self.add(name, &bytes),
                Err(reason) => reason.to_string(),
            },
            Err(_) => "it is not in the spool any more".to_owned(),
        };
        self.left_out.push(LeftOut { case: case.to_owned(), reason });
        Ok(())
    }
}

/// One result is one case; what it is called says nothing about the study.
fn case_name(case: &DecidedCase, pseudonyms: &Pseudonyms) -> String {
    pseudonyms.of("case", &case.result.to_string())
}

fn predictions_csv(predictions: &[ReviewedPrediction], pseudonyms: &Pseudonyms) -> String {
    let inputs = |one: &ReviewedPrediction| match &one.prediction.input {
        Value::Object(input) => input.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        _ => BTreeMap::new(),
    };
    let names: BTreeSet<String> = predictions.iter().flat_map(|one| inputs(one).into_keys()).collect();
    let mut csv = Csv::default();
    let head = ["patient", "model_version", "probability", "label", "correct", "truth"];
    csv.line(head.into_iter().map(str::to_owned).chain(names.iter().cloned()));
    for one in predictions {
        let kept = &one.prediction;
        let input = inputs(one);
        let fixed = [
            pseudonyms.of("patient", &kept.patient_id),
            kept.model.version.clone(),
            number(&kept.answer["probability"]),
            kept.label.map(|label| label.to_string()).unwrap_or_default(),
            one.correct.to_string(),
            truth(one),
        ];
        csv.line(
            fixed.into_iter().chain(names.iter().map(|name| input.get(name).map(number).unwrap_or_default())),
        );
    }
    csv.0
}

/// What it really was. A class that somebody typed is only told where the model knows it: free text
/// may name a person.
pub(crate) fn truth(one: &ReviewedPrediction) -> String {
    let classes = one.prediction.answer["classes"].as_array();
    let said = classes.and_then(|classes| {
        let winner = usize::try_from(one.prediction.answer["winner"].as_u64()?).ok()?;
        classes.get(winner)?["name"].as_str()
    });
    let is_known = |class: &&String| {
        ["0", "1"].contains(&class.as_str())
            || classes.into_iter().flatten().any(|known| known["name"] == **class)
    };
    match (one.correct, &one.actual_class) {
        (true, _) => said.map(str::to_owned).or(one.prediction.label.map(|label| label.to_string())),
        (false, Some(class)) => {
            Some(Some(class).filter(is_known).cloned().unwrap_or_else(|| feedback::OTHER.to_owned()))
        }
        (false, None) => one.prediction.label.map(|label| (1 - label.min(1)).to_string()),
    }
    .unwrap_or_else(|| "unknown".to_owned())
}

fn number(value: &Value) -> String {
    if value.is_number() { value.to_string() } else { String::new() }
}

fn cases_csv(cases: &[ReviewedCase], pseudonyms: &Pseudonyms) -> String {
    let mut csv = Csv::default();
    let head = ["case", "study_uid", "model_version", "decision", "said", "truth", "scanner", "images"];
    csv.line(head.map(str::to_owned));
    for one in cases {
        let decided = &one.case.decided;
        let (said, truth) = feedback::said_and_known_truth(decided);
        csv.line([
            case_name(&one.case, pseudonyms),
            pseudonyms.uid(one.case.study.as_str()),
            decided.model_version.clone(),
            decided.state.as_str().to_owned(),
            said,
            truth,
            feedback::scanner(decided),
            one.images.len().to_string(),
        ]);
    }
    csv.0
}

/// RFC 4180; a text that a table program would compute is quoted with an apostrophe before it.
#[derive(Debug, Default)]
struct Csv(String);

impl Csv {
    fn line(&mut self, fields: impl IntoIterator<Item = String>) {
        let mut is_first = true;
        for field in fields {
            if !std::mem::take(&mut is_first) {
                self.0.push(',');
            }
            self.0.push_str(&quoted(&field));
        }
        self.0.push_str("\r\n");
    }
}

fn quoted(field: &str) -> String {
    let is_number = field.parse::<f64>().is_ok();
    let guard = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number { "'" } else { "" };
    if guard.is_empty() && !field.contains([',', '"', '\r', '\n']) {
        return field.to_owned();
    }
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_cannot_leave_its_place_or_be_computed() {
        for (field, expect) in [
            ("-1.5", "-1.5"),
            ("plain", "plain"),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("=cmd()", "\"'=cmd()\""),
            ("-x", "\"'-x\""),
        ] {
            assert_eq!(quoted(field), expect);
        }
    }
}
