//! The models in service: read from a folder, reloaded without a gap.
//!
//! A reload builds a new catalogue beside the old one and swaps them at once. A package
//! that cannot be put in service never replaces what served from its folder before, and
//! a run that holds a model keeps it, whatever happens here.

mod beside;
mod circles;

use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use crate::{
    device::Device,
    model::Model,
    package::{MANIFEST, ModelId, Package, Policy},
    runtime::Runtime,
};

/// Which demonstration models may be put in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demonstrations {
    All,
    Named(Vec<ModelId>),
}

impl Demonstrations {
    fn allow(&self, package: &Package) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| answers_to(package, name)),
        }
    }
}

#[derive(Debug, Clone)]
pub struct RegistryOptions {
    pub allow_demonstration: Demonstrations,
    pub device: Device,
    /// Threads that one session computes with.
    pub threads: NonZeroUsize,
}

/// The folder of packages itself cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the folder of models {} cannot be read", dir.display())]
pub struct RegistryError {
    pub dir: PathBuf,
    #[source]
    source: io::Error,
}

/// A package that is not in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub dir: PathBuf,
    pub reason: String,
    /// `id@version` of the model that goes on serving from this folder.
    pub still_serving: Option<String>,
}

/// A demonstration that is whole and that nobody named in `allow_demonstration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    pub dir: PathBuf,
    pub id: ModelId,
}

/// Why a package is not put in service.
enum Absent {
    Refused(String),
    HeldBack(ModelId),
}

impl From<String> for Absent {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

/// What a reload changed; models by `id@version`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub unchanged: Vec<String>,
    pub refused: Vec<Refused>,
}

#[derive(Debug, Default)]
struct Catalogue {
    models: Vec<Arc<Model>>,
    refused: Vec<Refused>,
    held_back: Vec<HeldBack>,
}

/// The folder that models come from, and what they run on.
#[derive(Debug)]
struct Origin {
    dir: PathBuf,
    runtime: Runtime,
    options: RegistryOptions,
}

/// The models in service.
#[derive(Debug)]
pub struct Registry {
    /// None for a node without models.
    origin: Option<Origin>,
    catalogue: RwLock<Arc<Catalogue>>,
    /// One reload at a time.
    reloading: Mutex<()>,
}

impl Registry {
    /// Reads every package in `dir`; those that cannot be put in service are in [`Registry::refused`].
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn load(dir: &Path, runtime: &Runtime, options: RegistryOptions) -> Result<Self, RegistryError> {
        let origin = Origin { dir: dir.to_owned(), runtime: runtime.clone(), options };
        let registry = Self { origin: Some(origin), ..Self::empty() };
        registry.reload()?;
        Ok(registry)
    }

    /// A registry of a node that runs no models and needs no ONNX Runtime; it stays empty.
    pub fn empty() -> Self {
        Self { origin: None, catalogue: RwLock::default(), reloading: Mutex::default() }
    }

    /// Reads the folder again. What has not changed is not opened again.
    ///
    /// # Errors
    /// When the folder itself cannot be read; everything stays as it was.
    pub fn reload(&self) -> Result<Reloaded, RegistryError> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.catalogue();
        let new = match &self.origin {
            Some(origin) => origin.build(&old)?,
            None => Catalogue::default(),
        };
        let report = difference(&old, &new);
        for refused in &new.refused {
            tracing::warn!(package = %refused.dir.display(), reason = %refused.reason, "model package refused");
        }
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(report)
    }

    /// Of each id the highest version that may write.
    pub fn active(&self) -> Vec<Arc<Model>> {
        let mut newest: BTreeMap<ModelId, Arc<Model>> = BTreeMap::new();
        for model in self.catalogue().models.iter().filter(|model| !is_shadow(model)) {
            let known = newest.get(&model.package().id);
            if known.is_none_or(|known| known.package().version < model.package().version) {
                newest.insert(model.package().id.clone(), Arc::clone(model));
            }
        }
        newest.into_values().collect()
    }

    /// Models whose results are kept and never sent.
    pub fn shadows(&self) -> Vec<Arc<Model>> {
        self.catalogue().models.iter().filter(|model| is_shadow(model)).cloned().collect()
    }

    /// The active model that answers to an id or alias, or the very one that `id@version` names.
    pub fn get(&self, name: &str) -> Option<Arc<Model>> {
        let Some((id, version)) = name.split_once('@') else {
            let id = ModelId::new(name);
            return self.active().into_iter().find(|model| answers_to(model.package(), &id));
        };
        let (id, version) = (ModelId::new(id), version.parse().ok()?);
        let models = &self.catalogue().models;
        models
            .iter()
            .find(|model| model.package().version == version && answers_to(model.package(), &id))
            .cloned()
    }

    /// Packages in the folder that are not in service, with the reason.
    pub fn refused(&self) -> Vec<Refused> {
        self.catalogue().refused.clone()
    }

    /// Demonstrations in the folder that nobody named.
    pub fn held_back(&self) -> Vec<HeldBack> {
        self.catalogue().held_back.clone()
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Origin {
    fn build(&self, old: &Catalogue) -> Result<Catalogue, RegistryError> {
        let mut new = Catalogue::default();
        for dir in self.package_folders()? {
            let served = old.models.iter().find(|model| model.package().dir == dir);
            match self.put_in_service(&dir, served).and_then(|model| Ok(no_clash(&new, model)?)) {
                Ok(model) => new.models.push(model),
                Err(Absent::HeldBack(id)) => new.held_back.push(HeldBack { dir, id }),
                Err(Absent::Refused(reason)) => {
                    let still_serving = served.map(|model| model.package().full_name());
                    new.models.extend(served.cloned());
                    new.refused.push(Refused { dir, reason, still_serving });
                }
            }
        }
        refuse_circles(&mut new);
        Ok(new)
    }

    /// Folders with a `model.toml`, by name.
    fn package_folders(&self) -> Result<Vec<PathBuf>, RegistryError> {
        let failed = |source| RegistryError { dir: self.dir.clone(), source };
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.join(MANIFEST).is_file() {
                folders.push(path);
            }
        }
        folders.sort();
        Ok(folders)
    }

    fn put_in_service(&self, dir: &Path, served: Option<&Arc<Model>>) -> Result<Arc<Model>, Absent> {
        let package = Package::read(dir).map_err(|error| chain(&error))?;
        if package.is_demonstration() && !self.options.allow_demonstration.allow(&package) {
            return Err(Absent::HeldBack(package.id));
        }
        if let Some(served) = served.filter(|served| served.package().digest == package.digest) {
            return Ok(Arc::clone(served));
        }
        let model = Model::open(&self.runtime, package, self.options.device, self.options.threads);
        let model = model.map_err(|error| chain(&error))?;
        model.self_test().map_err(|error| chain(&error))?;
        Ok(Arc::new(model))
    }
}

/// An error with its causes, for people.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

fn is_shadow(model: &Model) -> bool {
    model.package().writes.policy == Policy::Shadow
}

fn answers_to(package: &Package, name: &ModelId) -> bool {
    package.id == *name || package.aliases.contains(name)
}

/// Two models may not answer to one name, nor one version be there twice.
fn no_clash(catalogue: &Catalogue, model: Arc<Model>) -> Result<Arc<Model>, String> {
    let package = model.package();
    for other in catalogue.models.iter().map(|model| model.package()) {
        if other.id == package.id {
            if other.version == package.version {
                return Err(format!(
                    "{} is there twice: also in {}",
                    package.full_name(),
                    other.dir.display()
                ));
            }
            continue;
        }
        let names = std::iter::once(&package.id).chain(&package.aliases);
        if let Some(name) = names.into_iter().find(|name| answers_to(other, name)) {
            return Err(format!("the name \"{name}\" belongs to {}", other.full_name()));
        }
    }
    Ok(model)
}

fn refuse_circles(catalogue: &mut Catalogue) {
    let packages = catalogue.models.iter().map(|model| model.package()).collect::<Vec<_>>();
    let circles = circles::circles(&packages);
    for (dir, path) in circles {
        catalogue.models.retain(|model| model.package().dir != dir);
        catalogue.refused.push(Refused {
            dir,
            reason: format!("a circle of fusions: {path}"),
            still_serving: None,
        });
    }
}

fn difference(old: &Catalogue, new: &Catalogue) -> Reloaded {
    let has = |catalogue: &Catalogue, model: &Arc<Model>| {
        catalogue.models.iter().any(|other| Arc::ptr_eq(other, model))
    };
    let names = |models: &[Arc<Model>], wanted: &dyn Fn(&Arc<Model>) -> bool| {
        models
            .iter()
            .filter(|model| wanted(model))
            .map(|model| model.package().full_name())
            .collect::<Vec<_>>()
    };
    Reloaded {
        added: names(&new.models, &|model| !has(old, model)),
        removed: names(&old.models, &|model| !has(new, model)),
        unchanged: names(&new.models, &|model| has(old, model)),
        refused: new.refused.clone(),
    }
}
