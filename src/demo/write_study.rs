//! `overread demo --write-study`: a study for trying things on, and the truth about it.

use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::{
    Orientation, StudyArgs,
    phantom::{self, LesionKind, PatientName, PhantomStudy, WrittenStudy},
};
use crate::{
    cli::{Output, terminal},
    exit::Failure,
};

pub(super) fn run(dir: &Path, args: &StudyArgs, output: Output) -> Result<(), Failure> {
    let written = write(args, dir)?;
    match output {
        Output::Json => terminal::line(&truth(&written).to_string()),
        Output::Text => {
            terminal::line(&format!(
                "{} slices of study {} in {}",
                written.files.len(),
                written.study,
                dir.display()
            ));
            for lesion in &written.lesions {
                let [x, y, z] = lesion.core_centre_lps;
                terminal::line(&format!(
                    "  {} lesion at ({x:.0}, {y:.0}, {z:.0}) mm: core {:.1} ml, oedema {:.1} ml",
                    word(lesion.kind),
                    lesion.core_ml,
                    lesion.oedema_ml
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn write(args: &StudyArgs, dir: &Path) -> anyhow::Result<WrittenStudy> {
    phantom::write_study(&options(args), dir).context("cannot write the synthetic study")
}

fn options(args: &StudyArgs) -> PhantomStudy {
    PhantomStudy {
        seed: args.seed,
        orientation: match args.orientation {
            Orientation::Axial => phantom::Orientation::Axial,
            Orientation::Sagittal => phantom::Orientation::Sagittal,
            Orientation::Coronal => phantom::Orientation::Coronal,
            Orientation::Oblique => phantom::Orientation::Oblique,
        },
        slices: args.slices,
        slice_spacing_mm: args.slice_spacing,
        name: if args.korean { PatientName::Korean } else { PatientName::Latin },
        ..PhantomStudy::default()
    }
}

fn truth(written: &WrittenStudy) -> serde_json::Value {
    let lesions: Vec<_> = written
        .lesions
        .iter()
        .map(|lesion| {
            json!({
                "kind": word(lesion.kind),
                "core_centre_lps_mm": lesion.core_centre_lps,
                "core_ml": lesion.core_ml,
                "oedema_ml": lesion.oedema_ml,
            })
        })
        .collect();
    json!({
        "study_uid": written.study,
        "series_uid": written.series,
        "frame_of_reference_uid": written.frame_of_reference,
        "instances": written.files.len(),
        "lesions": lesions,
    })
}

fn word(kind: LesionKind) -> &'static str {
    match kind {
        LesionKind::Enhancing => "enhancing",
        LesionKind::Necrotic => "necrotic",
        LesionKind::NonEnhancing => "non-enhancing",
    }
}
