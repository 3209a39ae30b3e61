//! A folder: `STUDY/SOP.dcm`, renamed into place when it is whole and on the disk.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{Proof, SendError, Shipment};

#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) async fn send(&self, shipment: Shipment) -> Result<(), SendError> {
        let path = self.path(&shipment);
        off_the_runtime(move || write(&path, &shipment.file)).await
    }

    pub(super) async fn prove(&self, shipment: &Shipment) -> Result<Proof, SendError> {
        let (path, expected) = (self.path(shipment), shipment.file.clone());
        off_the_runtime(move || match fs::read(path) {
            Ok(found) if found == expected => Ok(Proof::Arrived),
            Ok(_) => Ok(Proof::Absent),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Proof::Absent),
            Err(error) => Err(error),
        })
        .await
    }

    pub(super) async fn check(&self) -> Result<(), SendError> {
        let root = self.root.clone();
        off_the_runtime(move || {
            // It is made with its first object; until then the folder above it must take it.
            let there = root.ancestors().find(|folder| folder.exists()).unwrap_or(&root);
            let probe = there.join(".overread-probe");
            File::create(&probe)?;
            fs::remove_file(probe)
        })
        .await
    }

    fn path(&self, shipment: &Shipment) -> PathBuf {
        self.root.join(shipment.study.as_str()).join(format!("{}.dcm", shipment.sop_instance))
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    fs::create_dir_all(folder)?;
    // Not `.dcm`, so that whoever watches the folder does not take half a file.
    let partial = path.with_extension("part");
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    File::open(folder)?.sync_all()
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SendError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| SendError::Unavailable(format!("cannot use the folder: {error}"))),
        Err(error) => Err(SendError::Unavailable(format!("the write did not finish: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use imaging::Uid;

    use super::*;

    fn shipment() -> Shipment {
        let uid = |text| Uid::parse(text).unwrap();
        Shipment {
            study: uid("1.1").into(),
            series: uid("1.2").into(),
            sop_instance: uid("1.4").into(),
            urgency: ledger::Priority::Routine,
            file: Bytes::from_static(b"a file"),
            path: PathBuf::new(),
        }
    }

    #[tokio::test]
    async fn an_object_that_was_sent_twice_is_there_once_and_whole() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().to_path_buf());
        assert_eq!(folder.prove(&shipment()).await.unwrap(), Proof::Absent);
        folder.send(shipment()).await.unwrap();
        folder.send(shipment()).await.unwrap();
        assert_eq!(folder.prove(&shipment()).await.unwrap(), Proof::Arrived);
        let names: Vec<_> =
            fs::read_dir(root.path().join("1.1")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["1.4.dcm"]);
    }

    #[tokio::test]
    async fn other_bytes_under_the_same_name_are_no_proof() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().to_path_buf());
        folder.send(Shipment { file: Bytes::from_static(b"older"), ..shipment() }).await.unwrap();
        assert_eq!(folder.prove(&shipment()).await.unwrap(), Proof::Absent);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_the_destinations_trouble() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        let folder = Folder::new(file);
        assert!(matches!(folder.send(shipment()).await, Err(SendError::Unavailable(_))));
        assert!(folder.check().await.is_err());
    }
}
