//! Finds and loads ONNX Runtime, once for the process.
//!
//! The library is not linked: it is a file that `make runtime` fetches. It is looked for
//! at the configured path, at `ORT_DYLIB_PATH`, in `lib/` beside the executable, in the
//! `runtime/` folder of a checkout, and in a Python environment that has it.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ort::environment::Environment;

use crate::device::{Device, Gate};

/// The oldest library whose interface is enough.
const OLDEST_VERSION: &str = "1.24";
const HOW_TO_GET_IT: &str = "`make runtime` fetches it, or set [runtime] onnxruntime to the library's path";

/// Why there is no ONNX Runtime. One sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("ONNX Runtime was not found: {HOW_TO_GET_IT}")]
    NotFound,
    #[error("there is no ONNX Runtime at {}: {HOW_TO_GET_IT}", .0.display())]
    NotThere(PathBuf),
    #[error("{} is ONNX Runtime {found}, at least {OLDEST_VERSION} is needed: {HOW_TO_GET_IT}", path.display())]
    TooOld { path: PathBuf, found: String },
    #[error("{} is no ONNX Runtime library for this machine: {HOW_TO_GET_IT}", path.display())]
    NotALibrary {
        path: PathBuf,
        #[source]
        source: ort::LoadDynamicError,
    },
    #[error("ONNX Runtime at {} does not start", path.display())]
    Start {
        path: PathBuf,
        #[source]
        source: ort::Error,
    },
}

/// The loaded library. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime(Arc<Loaded>);

#[derive(Debug)]
struct Loaded {
    environment: Environment,
    library: PathBuf,
    gates: Mutex<HashMap<Device, Arc<Gate>>>,
}

/// ONNX Runtime allows one environment for each process, for ever.
static LOADED: Mutex<Option<Arc<Loaded>>> = Mutex::new(None);

impl Runtime {
    /// Loads ONNX Runtime from `path`, or from where it is found when there is none.
    /// A process loads it once: later calls give the same one.
    ///
    /// # Errors
    /// When there is no library, it is too old or for another machine.
    pub fn open(path: Option<&Path>) -> Result<Self, RuntimeError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*loaded {
            return Ok(Self(Arc::clone(loaded)));
        }
        let library = find(path)?;
        let environment = load(&library)?;
        tracing::info!(library = %library.display(), "loaded ONNX Runtime");
        let fresh = Arc::new(Loaded { environment, library, gates: Mutex::default() });
        *loaded = Some(Arc::clone(&fresh));
        Ok(Self(fresh))
    }

    /// The file that was loaded.
    pub fn library(&self) -> &Path {
        &self.0.library
    }

    /// How the library was built, in its own words.
    pub fn build(&self) -> &'static str {
        ort::info()
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.0.environment
    }

    pub(crate) fn gate(&self, device: Device) -> Arc<Gate> {
        let mut gates = self.0.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(device).or_default())
    }
}

fn load(library: &Path) -> Result<Environment, RuntimeError> {
    let path = library.to_owned();
    let builder = ort::init_from(library).map_err(|error| match error {
        ort::LoadDynamicError::BadVersion { version_str, path } => {
            RuntimeError::TooOld { path, found: version_str }
        }
        source => RuntimeError::NotALibrary { path: path.clone(), source },
    })?;
    builder.with_name("overread").build().map_err(|source| RuntimeError::Start { path, source })
}

/// The library to load, as an absolute path.
fn find(configured: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    if let Some(path) = configured {
        return at(path).ok_or_else(|| RuntimeError::NotThere(path.to_owned()));
    }
    // The variable that every tool around `ort` knows; read here and nowhere else.
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from) {
        return at(&path).ok_or(RuntimeError::NotThere(path));
    }
    usual_folders().iter().find_map(|folder| newest_in(folder)).ok_or(RuntimeError::NotFound)
}

/// A file itself, or the library inside a folder.
fn at(path: &Path) -> Option<PathBuf> {
    let found = if path.is_dir() { newest_in(path)? } else { path.to_owned() };
    fs::canonicalize(found).ok()
}

fn usual_folders() -> Vec<PathBuf> {
    let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let starts = beside.iter().cloned().chain(env::current_dir().ok()).collect::<Vec<_>>();
    let mut folders = beside.iter().map(|folder| folder.join("lib")).collect::<Vec<_>>();
    folders.extend(starts.iter().flat_map(|start| start.ancestors()).map(|folder| folder.join("runtime")));
    let environments = env::var_os("VIRTUAL_ENV").map(PathBuf::from).into_iter();
    let environments =
        environments.chain(starts.iter().flat_map(|start| start.ancestors()).map(|at| at.join(".venv")));
    folders.extend(environments.flat_map(|environment| capi_folders(&environment)));
    folders
}

/// `lib/python3.X/site-packages/onnxruntime/capi` of a Python environment.
fn capi_folders(environment: &Path) -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir(environment.join("lib")) else { return Vec::new() };
    versions.flatten().map(|version| version.path().join("site-packages/onnxruntime/capi")).collect()
}

/// The library with the highest version in its name.
fn newest_in(folder: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let libraries =
        names.filter(|name| name.starts_with("libonnxruntime.so") || name == "libonnxruntime.dylib");
    let newest = libraries.max_by_key(|name| version_in(name))?;
    fs::canonicalize(folder.join(newest)).ok()
}

fn version_in(name: &str) -> Vec<u32> {
    name.trim_start_matches("libonnxruntime.so").split('.').filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_of_a_folder_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.31.1", "libonnxruntime_providers_shared.so"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = at(folder.path()).unwrap();
        assert_eq!(found.file_name().unwrap(), "libonnxruntime.so.1.31.1");
        assert_eq!(at(&folder.path().join("none.so")), None);
    }

    #[test]
    fn a_missing_library_says_how_to_get_it() {
        let error = find(Some(Path::new("/nowhere/libonnxruntime.so"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no ONNX Runtime at /nowhere/libonnxruntime.so: `make runtime` fetches it, or set [runtime] onnxruntime to the library's path"
        );
    }
}
