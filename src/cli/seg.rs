//! `overread seg`: a ready label map becomes a DICOM segmentation, without any model.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use results::{
    Algorithm, Background, Compression, Description, Identity, IntendedUse, Production, Profile,
    Segmentation, SegmentationInput, SegmentationType, Source, open_labels, segmentation_of_planes,
};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{JsonFlag, Output, send, terminal};
use crate::exit::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overread seg --source series/ --labels mask.nii.gz --describe labels.toml --out seg.dcm
  overread seg --source series/ --labels mask.npy --describe dcmqi.json --out seg.dcm --kind labelmap --rle

A .npy array is (slice along the normal, row, column); NIfTI is placed by its affine. The
description is [[output.label]] tables as in model.toml, or dcmqi's JSON.")]
pub(crate) struct SegArgs {
    /// Folder with the DICOM files of the series that was labelled.
    #[arg(long, value_name = "DIR")]
    source: PathBuf,
    /// The label map: .npy, .nii or .nii.gz.
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// What the labels mean: .toml or .json.
    #[arg(long, value_name = "FILE")]
    describe: PathBuf,
    /// The segmentation to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How voxels are stored.
    #[arg(long, value_enum, default_value_t = Kind::Binary)]
    kind: Kind,
    /// Compress a label map (RLE Lossless).
    #[arg(long)]
    rle: bool,
    /// Describe the background of a label map as segment 0, to the letter of PS3.3.
    #[arg(long)]
    describe_background: bool,
    #[command(flatten)]
    json: JsonFlag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One bit for each voxel and segment; every viewer shows it.
    Binary,
    /// One number for each voxel (Supplement 243); small, and few viewers know it yet.
    Labelmap,
    /// One byte for each voxel and segment.
    Fractional,
}

pub(crate) fn run(args: SegArgs) -> Result<(), Failure> {
    if args.rle && args.kind != Kind::Labelmap {
        return Err(Failure::usage(
            "--rle needs --kind labelmap: viewers read no other compressed segmentation",
        ));
    }
    if args.describe_background && args.kind != Kind::Labelmap {
        return Err(Failure::usage(
            "--describe-background needs --kind labelmap: other segmentations have no background",
        ));
    }
    let made = make(&args)?;
    std::fs::write(&args.out, &made.encoded.bytes)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    match args.json.output() {
        Output::Json => {
            let reference = &made.encoded.reference;
            terminal::line(
                &json!({ "file": args.out, "sop_instance_uid": reference.sop_instance, "series_uid": reference.series })
                    .to_string(),
            );
        }
        Output::Text => terminal::line(&format!("wrote {}", args.out.display())),
    }
    Ok(())
}

fn make(args: &SegArgs) -> anyhow::Result<Segmentation> {
    let mut files = Vec::new();
    send::collect(&args.source, &mut files)?;
    let source = Source::read(&files)
        .with_context(|| format!("cannot use the series in {}", args.source.display()))?;
    let description = Description::read(&args.describe)?;
    let mut labels = open_labels(&args.labels, &source)?;
    let production = production(&description, args);
    let input = SegmentationInput {
        production: &production,
        source: &source,
        segments: &description.segments,
        probabilities: None,
    };
    let made = segmentation_of_planes(&input, labels.as_mut())?;
    // One file for all segments is what the profile says.
    match made.into_iter().next() {
        Some(made) => Ok(made),
        None => {
            bail!("{} has no voxel of a described label: there is nothing to write", args.labels.display())
        }
    }
}

fn production(description: &Description, args: &SegArgs) -> Production {
    let name = description.name.clone().unwrap_or_else(|| {
        // The file's name is the only thing known of who made it.
        args.labels.file_name().unwrap_or_default().to_string_lossy().into_owned()
    });
    Production {
        // Nobody else knows of this run: its UIDs are new.
        identity: Identity { installation: Uuid::new_v4(), job_key: String::new() },
        algorithm: Algorithm {
            id: "label-map".to_owned(),
            name,
            version: description.version.clone().unwrap_or_else(|| "unknown".to_owned()),
            manufacturer: String::new(),
            digest: String::new(),
            parameters: Vec::new(),
        },
        written_at: OffsetDateTime::now_utc(),
        intended_use: IntendedUse::Stated,
        profile: Profile {
            segmentation: match args.kind {
                Kind::Binary => SegmentationType::Binary,
                Kind::Labelmap => SegmentationType::LabelMap,
                Kind::Fractional => SegmentationType::Fractional,
            },
            compression: if args.rle { Compression::Rle } else { Compression::None },
            background: if args.describe_background { Background::Described } else { Background::Implied },
            ..Profile::default()
        },
    }
}
