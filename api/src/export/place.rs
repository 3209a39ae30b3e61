//! Where the files of an export go.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use zip::{
    CompressionMethod, ZipWriter,
    write::{SimpleFileOptions, StreamWriter},
};

use super::ExportError;

pub(super) trait Place {
    /// Keeps a file under a name with `/` between folders.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError>;
}

/// Never goes back to what is written: who gets it may be far away.
pub(super) struct Zip<W: Write>(ZipWriter<StreamWriter<W>>);

pub(super) struct Folder(PathBuf);

impl<W: Write> Zip<W> {
    pub(super) fn new(into: W) -> Self {
        Self(ZipWriter::new_stream(into))
    }

    pub(super) fn finish(self) -> Result<(), ExportError> {
        let mut into = self.0.finish()?;
        into.flush()?;
        Ok(())
    }
}

impl<W: Write> Place for Zip<W> {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let is_table = !name.ends_with(".dcm");
        let method = if is_table { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        let options = SimpleFileOptions::default().compression_method(method).large_file(true);
        self.0.start_file(name, options)?;
        self.0.write_all(bytes)?;
        Ok(())
    }
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Place for Folder {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
        Ok(())
    }
}
