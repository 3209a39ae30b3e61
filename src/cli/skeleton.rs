//! `overread model new`: a package to start from, every line explained.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use sha2::{Digest as _, Sha256};

use super::terminal;

/// Stands in for the digest until there are weights.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const CARD: &str = "# ID: what it does, in one line

**Status:** not reviewed by anybody yet.

| | |
| --- | --- |
| What it is | |
| Input | |
| Training data | |
| Intended use | |

## Figures

## Limits
";

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// The folder to make; its name is the model's id: lower case letters, digits and '-'.
    dir: PathBuf,
    /// What the model does.
    #[arg(long, value_enum, default_value = "segmentation")]
    task: Kind,
    /// An ONNX file; it is copied into the folder and its digest is pinned.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Segmentation,
    Classification,
    Tabular,
    Fusion,
}

impl Kind {
    fn description(self) -> &'static str {
        match self {
            Self::Segmentation => include_str!("skeleton/segmentation.toml"),
            Self::Classification => include_str!("skeleton/classification.toml"),
            Self::Tabular => include_str!("skeleton/tabular.toml"),
            Self::Fusion => include_str!("skeleton/fusion.toml"),
        }
    }
}

pub(super) fn make(args: &NewArgs) -> anyhow::Result<()> {
    let id = id_of(&args.dir)?;
    let weights = args.weights.as_deref().map(read_weights).transpose()?;
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    let manifest = args.dir.join(inference::package::MANIFEST);
    ensure!(
        !manifest.exists(),
        "{} is there already: a package is not written over another",
        manifest.display()
    );
    let digest = weights.as_ref().map_or_else(|| NO_DIGEST.to_owned(), |bytes| sha256(bytes));
    let mut files = vec![
        (manifest, args.task.description().replace("ID", &id).replace("SHA256", &digest).into_bytes()),
        (args.dir.join(inference::package::MODEL_CARD), CARD.replace("ID", &id).into_bytes()),
    ];
    files.extend(weights.map(|bytes| (args.dir.join("model.onnx"), bytes)));
    for (path, bytes) in &files {
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        terminal::line(&format!("wrote {}", path.display()));
    }
    terminal::line(&next(&args.dir, args.weights.is_some()));
    Ok(())
}

fn next(dir: &Path, has_weights: bool) -> String {
    let weights = if has_weights {
        String::new()
    } else {
        format!("put the weights at {}/model.onnx, ", dir.display())
    };
    format!(
        "next: {weights}describe them in model.toml, then run\n  overread model check --record {}\nuntil it says ok",
        dir.display()
    )
}

fn id_of(dir: &Path) -> anyhow::Result<String> {
    let Some(name) = dir.file_name().and_then(|name| name.to_str()) else {
        bail!("{} has no name that could be the model's id", dir.display());
    };
    let is_plain = name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-');
    ensure!(is_plain, "{name:?} is no id: expected lower case letters, digits and '-'");
    Ok(name.to_owned())
}

fn read_weights(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the weights {}", path.display()))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use inference::Package;

    use super::*;

    #[test]
    fn each_skeleton_is_a_valid_description() {
        for kind in Kind::value_variants() {
            let text = kind.description().replace("ID", "my-model").replace("SHA256", NO_DIGEST);
            let package = Package::parse(Path::new("models/my-model"), &text);
            let package = package.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            let task = kind.to_possible_value().unwrap();
            assert_eq!(package.task.name(), task.get_name());
            assert!(package.is_demonstration());
        }
    }

    #[test]
    fn a_name_that_is_no_id_is_refused() {
        for bad in ["My-Model", "a b", "a_b", ".."] {
            assert!(id_of(Path::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(id_of(Path::new("models/lung-nodule2")).unwrap(), "lung-nodule2");
    }
}
