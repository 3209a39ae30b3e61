//! Packages that are not in service yet.

use std::path::Path;

use super::{Registry, chain};
use crate::{model::Model, package::Package};

impl Registry {
    /// The folder that models come from; none for a node without models.
    pub fn dir(&self) -> Option<&Path> {
        self.origin.as_ref().map(|origin| origin.dir.as_path())
    }

    /// Does with the package in `dir`, wherever that is, all that a reload does before it puts one in service.
    ///
    /// # Errors
    /// Why it could not be put in service.
    pub fn check(&self, dir: &Path) -> Result<Model, String> {
        let origin = self.origin.as_ref().ok_or("this node runs no models")?;
        let package = Package::read(dir).map_err(|error| chain(&error))?;
        if package.is_demonstration() && !origin.options.allow_demonstration.allow(&package) {
            return Err(format!("{} is a demonstration that nobody allowed", package.id));
        }
        let model = Model::open(&origin.runtime, package, origin.options.device, origin.options.threads);
        let model = model.map_err(|error| chain(&error))?;
        model.self_test().map_err(|error| chain(&error))?;
        Ok(model)
    }
}
