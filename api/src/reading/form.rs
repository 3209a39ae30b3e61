//! A form with an image: text fields in memory, files on the disk as they come.

use std::{collections::BTreeMap, path::PathBuf};

use axum::extract::{FromRequest, Multipart, Request, multipart::Field};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    error::{ApiError, ApiResult, Code},
    temporary::TemporaryFolder,
};

/// More files than this in one request are several requests.
const FILES_MAX: usize = 1000;
const FIELDS_MAX: usize = 32;
const FIELD_BYTES_MAX: usize = 1024;

/// A form that was read to its end.
#[derive(Debug)]
pub(crate) struct Form {
    /// Goes with the form, and everything in it.
    pub(crate) folder: TempDir,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) fields: BTreeMap<String, String>,
    /// SHA-256 of the files, one after another.
    pub(crate) digest: String,
}

impl Form {
    /// Reads a form; the route's body limit holds for all of it.
    pub(crate) async fn read(temporary: &TemporaryFolder, request: Request) -> ApiResult<Self> {
        let mut parts = Multipart::from_request(request, &()).await.map_err(|rejection| {
            ApiError::because(Code::BadRequest, format!("send multipart/form-data: {rejection}"))
        })?;
        let folder = temporary.folder()?;
        let mut form = Self { folder, files: Vec::new(), fields: BTreeMap::new(), digest: String::new() };
        let mut hash = Sha256::new();
        while let Some(part) = parts.next_field().await? {
            let name = part.name().unwrap_or("").to_owned();
            if part.file_name().is_some() || name == "image" {
                form.take_file(temporary, part, &mut hash).await?;
            } else {
                form.take_field(name, part).await?;
            }
        }
        form.digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(form)
    }

    async fn take_file(
        &mut self,
        temporary: &TemporaryFolder,
        mut part: Field<'_>,
        hash: &mut Sha256,
    ) -> ApiResult<()> {
        if self.files.len() == FILES_MAX {
            let detail = format!("at most {FILES_MAX} files in one request");
            return Err(ApiError::because(Code::BodyTooLarge, detail));
        }
        let path = self.folder.path().join(self.files.len().to_string());
        let mut file = tokio::fs::File::create(&path).await.map_err(ApiError::internal)?;
        let each = |chunk: &[u8]| hash.update(chunk);
        let length = temporary.receive(&mut part, &mut file, each, |_| None).await?;
        // Where one file ends and the next begins is part of what was sent.
        hash.update(length.to_le_bytes());
        self.files.push(path);
        Ok(())
    }

    async fn take_field(&mut self, name: String, mut part: Field<'_>) -> ApiResult<()> {
        let too_long = || ApiError::because(Code::BodyTooLarge, "a text field of the form is too long");
        if self.fields.len() == FIELDS_MAX || name.len() > FIELD_BYTES_MAX {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = part.chunk().await? {
            if bytes.len() + chunk.len() > FIELD_BYTES_MAX {
                return Err(too_long());
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(bytes);
        let text =
            text.map_err(|_| ApiError::because(Code::BadRequest, "a field of the form is not UTF-8"))?;
        self.fields.insert(name, text);
        Ok(())
    }
}
