//! Model packages: a folder with `model.toml`, weights and a self-test (`docs/MODELS.md`).
//!
//! A [`Package`] that exists is consistent in itself: every key is known, every
//! value is in range, every label has its codes, the weights have the digest that
//! is written down. Whether the graph inside the weights fits is for
//! [`crate::Model::open`].

mod applies;
mod codes;
mod error;
mod explain;
mod fusion;
mod identity;
mod image;
mod intensity;
mod manifest;
mod output;
mod retrain;
mod selftest;
mod shadow;
mod tabular;
mod weights;
mod window;
mod writes;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(crate) use self::manifest::Section;
use self::manifest::Source;
pub use self::{
    applies::{AppliesTo, Contrast, Fitness, Interval, Pattern},
    error::PackageError,
    explain::{CamWeights, Explain},
    fusion::{FusionFeature, Measure, Part},
    identity::{ModelId, Version},
    image::{Axis, Channel, Direction, ImageInput, Layout, Orientation, TensorAxes},
    intensity::{Intensity, Over},
    output::{
        Activation, Class, ClassificationOutput, Color, Decision, Label, SegmentationOutput, SeriesRule,
    },
    retrain::{Retrain, RetrainPlaces},
    selftest::SelfTestFiles,
    tabular::{Derived, Feature, Missing, Outside, Positive, TabularSpec},
    weights::Weights,
    window::{Blend, Window},
    writes::{Policy, SegKind, Writes},
};

/// The name of the file that describes a package.
pub const MANIFEST: &str = "model.toml";
/// The name of the file for people.
pub const MODEL_CARD: &str = "MODEL_CARD.md";
/// The one version of the format of `model.toml`.
const FORMAT: i64 = 1;
/// A description is written by a person: more is an accident.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// What the model may be used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntendedUse {
    /// For showing how things work; never for patients.
    Demonstration,
    /// The maker's sentence.
    Stated(String),
}

/// What the model does, with all that this kind needs.
#[derive(Debug, Clone)]
pub enum Task {
    Segmentation(Segmentation),
    Classification(Classification),
    Tabular(TabularSpec),
    Fusion(Fusion),
}

impl Task {
    /// The word that `model.toml` uses.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Segmentation(_) => "segmentation",
            Self::Classification(_) => "classification",
            Self::Tabular(_) => "tabular",
            Self::Fusion(_) => "fusion",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Segmentation {
    pub input: ImageInput,
    /// None for a model that sees whole slices or whole volumes.
    pub window: Option<Window>,
    pub output: SegmentationOutput,
}

#[derive(Debug, Clone)]
pub struct Classification {
    pub input: ImageInput,
    pub output: ClassificationOutput,
    pub explain: Option<Explain>,
}

#[derive(Debug, Clone)]
pub struct Fusion {
    pub parts: Vec<FusionFeature>,
    pub table: TabularSpec,
}

/// A model package, read and consistent.
#[derive(Debug, Clone)]
pub struct Package {
    pub dir: PathBuf,
    /// SHA-256 over the manifest and the weights: changes when an answer could change.
    pub digest: String,
    pub id: ModelId,
    pub version: Version,
    pub name: String,
    pub aliases: Vec<ModelId>,
    pub intended_use: IntendedUse,
    pub description: String,
    pub task: Task,
    /// When the model is run; none for models that take no images.
    pub applies_to: Option<AppliesTo>,
    pub fitness: Fitness,
    /// One, or the members of an ensemble.
    pub weights: Vec<Weights>,
    pub writes: Writes,
    pub self_test: SelfTestFiles,
    /// How it is trained anew; none: its package does not say.
    pub retrain: Option<Retrain>,
}

impl Package {
    /// Reads the package in `dir` and checks the digests of its weights.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and what was expected.
    pub fn read(dir: &Path) -> Result<Self, PackageError> {
        let path = dir.join(MANIFEST);
        let text = manifest_text(&path)?;
        let package = Self::parse(dir, &text)?;
        for weights in &package.weights {
            weights.verify(dir)?;
        }
        Ok(if shadow::is_marked(dir) { package.watching() } else { package })
    }

    /// Understands `text` as the `model.toml` of the package in `dir`, without looking at other files.
    ///
    /// # Errors
    /// As [`Package::read`], but for the files beside the manifest.
    pub fn parse(dir: &Path, text: &str) -> Result<Self, PackageError> {
        let source = Source::new(&dir.join(MANIFEST), text);
        let document = toml::de::DeTable::parse(text).map_err(|error| {
            source.error(&error.span().unwrap_or(0..0), format!("this is not TOML: {}", error.message()))
        })?;
        let root = Section::root(&source, &document);
        let format = root.required("format", "format = 1")?;
        if format.whole()? != FORMAT {
            return Err(format.error(format!("`format` is {}: expected {FORMAT}", format.whole()?)));
        }
        let id_field = root.required("id", "the model's id")?;
        let id = ModelId::read(&id_field)?;
        identity::check_folder(dir, &id, &id_field)?;
        let weights = Weights::read_all(&root)?;
        let task = task(&root)?;
        let package = Self {
            dir: dir.to_owned(),
            digest: digest(text, &weights),
            version: Version::read(&root.required("version", "a version such as \"1.0.0\"")?)?,
            name: root.text("name", "a name for people")?.to_owned(),
            aliases: aliases(&root, &id)?,
            intended_use: intended_use(&root)?,
            description: root.optional_text("description")?.unwrap_or_default().to_owned(),
            applies_to: applies_to(&root, &task)?,
            fitness: Fitness::read(&root)?,
            writes: Writes::read(&root, &task)?,
            self_test: SelfTestFiles::read(&root)?,
            retrain: Retrain::read(&root)?,
            id,
            task,
            weights,
        };
        root.done()?;
        package.check_fusion(&root)?;
        Ok(package)
    }

    /// `id@version`, as logs and results name a model.
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.id, self.version)
    }

    /// What makes its images; none for models that take rows.
    pub fn image_input(&self) -> Option<&ImageInput> {
        match &self.task {
            Task::Segmentation(task) => Some(&task.input),
            Task::Classification(task) => Some(&task.input),
            Task::Tabular(_) | Task::Fusion(_) => None,
        }
    }

    /// Whether it can answer about an image that does not say where in the patient it lies: one that is
    /// classified by itself. A segmentation there would have no place and no size.
    pub fn takes_unplaced(&self) -> bool {
        matches!(&self.task, Task::Classification(task) if task.input.layout != Layout::Volume)
    }

    pub fn is_demonstration(&self) -> bool {
        self.intended_use == IntendedUse::Demonstration
    }

    /// The text of the model card, none when the package has none.
    ///
    /// # Errors
    /// When there is a card that cannot be read.
    pub fn card(&self) -> Result<Option<String>, PackageError> {
        let path = self.dir.join(MODEL_CARD);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PackageError::unreadable(&path, "the model card cannot be read", error)),
        }
    }

    fn check_fusion(&self, root: &Section<'_>) -> Result<(), PackageError> {
        let Task::Fusion(fusion) = &self.task else { return Ok(()) };
        let own = |part: &&FusionFeature| part.model == self.id || self.aliases.contains(&part.model);
        match fusion.parts.iter().find(own) {
            Some(part) => Err(root.error(format!(
                "`fusion.feature` \"{}\" takes the model's own findings: a circle",
                part.name
            ))),
            None => Ok(()),
        }
    }
}

fn manifest_text(path: &Path) -> Result<String, PackageError> {
    let unreadable = |error: std::io::Error| {
        let problem = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file: a model package needs it",
            std::io::ErrorKind::InvalidData => "this is not UTF-8 text",
            _ => "the file cannot be read",
        };
        PackageError::unreadable(path, problem, error)
    };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MANIFEST_BYTES_MAX {
        return Err(PackageError::in_file(
            path,
            format!("the file has {size} bytes: at most {MANIFEST_BYTES_MAX} are read"),
        ));
    }
    fs::read_to_string(path).map_err(unreadable)
}

fn digest(text: &str, weights: &[Weights]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(text.as_bytes());
    for weights in weights {
        hasher.update(weights.sha256.as_bytes());
    }
    weights::hex(&hasher.finalize())
}

fn aliases(root: &Section<'_>, id: &ModelId) -> Result<Vec<ModelId>, PackageError> {
    let Some(field) = root.optional("aliases") else { return Ok(Vec::new()) };
    let mut aliases = Vec::new();
    for item in field.list()? {
        let alias = ModelId::read_alias(&item)?;
        if alias == *id || aliases.contains(&alias) {
            return Err(item.error(format!("the alias \"{alias}\" is there twice")));
        }
        aliases.push(alias);
    }
    Ok(aliases)
}

fn intended_use(root: &Section<'_>) -> Result<IntendedUse, PackageError> {
    let field = root.required("intended_use", "\"demonstration\", or a sentence")?;
    match field.text()?.trim() {
        "" => Err(field.error("`intended_use` is empty: expected \"demonstration\", or a sentence")),
        "demonstration" => Ok(IntendedUse::Demonstration),
        sentence => Ok(IntendedUse::Stated(sentence.to_owned())),
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Segmentation,
    Classification,
    Tabular,
    Fusion,
}

fn task(root: &Section<'_>) -> Result<Task, PackageError> {
    let kind = root.required("task", "segmentation, classification, tabular or fusion")?.choice(&[
        ("segmentation", Kind::Segmentation),
        ("classification", Kind::Classification),
        ("tabular", Kind::Tabular),
        ("fusion", Kind::Fusion),
    ])?;
    match kind {
        Kind::Segmentation => {
            let input = ImageInput::read(root)?;
            let window = Window::read(root, &input)?;
            let output = SegmentationOutput::read(root)?;
            Ok(Task::Segmentation(Segmentation { input, window, output }))
        }
        Kind::Classification => {
            let input = ImageInput::read(root)?;
            let output = ClassificationOutput::read(root)?;
            let explain = Explain::read(root)?;
            Ok(Task::Classification(Classification { input, output, explain }))
        }
        Kind::Tabular => Ok(Task::Tabular(TabularSpec::read(root, &[])?)),
        Kind::Fusion => {
            let parts = FusionFeature::read_all(root)?;
            let names = parts.iter().map(|part| part.name.clone()).collect::<Vec<_>>();
            let table = TabularSpec::read(root, &names)?;
            Ok(Task::Fusion(Fusion { parts, table }))
        }
    }
}

fn applies_to(root: &Section<'_>, task: &Task) -> Result<Option<AppliesTo>, PackageError> {
    match task {
        Task::Segmentation(_) | Task::Classification(_) => {
            let field = root.required("applies_to", "a table that says which series the model is for")?;
            AppliesTo::read(&field.section()?, applies::Modality::Required).map(Some)
        }
        Task::Tabular(_) | Task::Fusion(_) => Ok(None),
    }
}
