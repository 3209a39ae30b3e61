//! The folder that must survive: who this installation is, the keys that it made for
//! itself, and the lock that keeps a second process out.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use ledger::{Ledger, Millis};
use uuid::Uuid;

/// The folder of one installation.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
}

/// Held as long as this process may write to the folder.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock goes when the file is closed")] File);

const INSTALLATION_FILE: &str = "installation-id";
const LOCK_FILE: &str = "lock";
const FIRST_LOGIN: &str = "first-login";
const CALL_JOURNAL: &str = "calls.journal";
const TEMPORARY: &str = "tmp";
/// Bytes of a key that we make: as many as HMAC-SHA-256 takes.
const KEY_BYTES: usize = 32;

impl DataDir {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the folder {} (data_dir)", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Part of the UID of every result, so that two installations never collide. It is the
    /// ledger's, which nodes share; this folder keeps it in case the ledger is lost.
    ///
    /// # Errors
    /// When it is damaged, cannot be kept, or is another than the ledger's: then folder and
    /// ledger belong to two installations, and results would get a second UID in the PACS.
    pub(crate) async fn installation(&self, ledger: &Ledger) -> anyhow::Result<Uuid> {
        let file = self.path.join(INSTALLATION_FILE);
        let kept = read(&file)?.map(|text| parse_installation(&file, &text)).transpose()?;
        let known = ledger.adopt_installation(kept.unwrap_or_else(Uuid::new_v4), Millis::now()).await?;
        match kept {
            Some(kept) if kept != known => bail!(
                "{} and the database belong to two installations; correct data_dir or database.url",
                self.path.display()
            ),
            Some(_) => Ok(known),
            None => {
                let text = read_or_make(&file, || known.to_string().into_bytes())?;
                parse_installation(&file, &text)
            }
        }
    }

    /// A random key of this installation, made when it is first asked for.
    ///
    /// # Errors
    /// When it cannot be read or written, or is damaged.
    pub(crate) fn key(&self, name: &str) -> anyhow::Result<[u8; KEY_BYTES]> {
        let file = self.path.join(format!("{name}.key"));
        let bytes = read_or_make(&file, || rand::random::<[u8; KEY_BYTES]>().to_vec())?;
        bytes.try_into().map_err(|_| anyhow::anyhow!("{} is damaged; restore it from a backup of data_dir, or delete it and everybody signs in again", file.display()))
    }

    /// Calls that the database may lack; only for who holds the lock.
    pub(crate) fn call_journal(&self) -> PathBuf {
        self.path.join(CALL_JOURNAL)
    }

    /// Images that requests bring, for as long as they last; only for who holds the lock.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.path.join(TEMPORARY)
    }

    /// Shows a text to whoever may read the folder; the one before is gone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn show_first_login(&self, text: &str) -> anyhow::Result<PathBuf> {
        self.hide_first_login()?;
        let file = self.path.join(FIRST_LOGIN);
        write_new(&file, text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// # Errors
    /// When it is there and cannot be deleted.
    pub(crate) fn hide_first_login(&self) -> anyhow::Result<()> {
        let file = self.path.join(FIRST_LOGIN);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot delete {}", file.display()))
            }
            _ => Ok(()),
        }
    }

    /// Keeps every other process out until the lock is dropped.
    ///
    /// # Errors
    /// When another process serves from this folder.
    pub(crate) fn lock(&self) -> anyhow::Result<Lock> {
        let path = self.path.join(LOCK_FILE);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => bail!(
                "another overread already serves from {}; stop it, or give this one a data_dir of its own",
                self.path.display()
            ),
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

fn parse_installation(file: &Path, text: &[u8]) -> anyhow::Result<Uuid> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
    parsed.with_context(|| format!("{} is damaged; restore it from a backup of data_dir", file.display()))
}

fn read(file: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// The file's bytes. A new file is flushed and linked into place, so that a crash leaves either
/// none or the whole of it, and of two processes that start at once both get the same.
fn read_or_make(file: &Path, make: impl FnOnce() -> Vec<u8>) -> anyhow::Result<Vec<u8>> {
    if let Some(bytes) = read(file)? {
        return Ok(bytes);
    }
    let part = file.with_extension(format!("part-{}", std::process::id()));
    write_new(&part, &make()).with_context(|| format!("cannot write {}", part.display()))?;
    // A link, unlike a rename, does not replace what another process made meanwhile.
    let linked = std::fs::hard_link(&part, file);
    std::fs::remove_file(&part).with_context(|| format!("cannot delete {}", part.display()))?;
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot write {}", file.display())),
    }
    if let Some(folder) = file.parent() {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("cannot flush {}", folder.display()))?;
    }
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn write_new(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(file)?;
    open.write_all(bytes)?;
    open.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ledger(folder: &Path) -> Ledger {
        let url = format!("sqlite:{}", folder.join("ledger.db").display());
        Ledger::open(&url, ledger::Durability::Process).await.unwrap()
    }

    #[tokio::test]
    async fn an_installation_keeps_its_identity_when_folder_or_ledger_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(&folder.path().join("new/data")).unwrap();
        let first = ledger(folder.path()).await;
        let installation = data_dir.installation(&first).await.unwrap();
        assert_eq!(data_dir.installation(&first).await.unwrap(), installation);

        let second_node = DataDir::open(&folder.path().join("second")).unwrap();
        assert_eq!(second_node.installation(&first).await.unwrap(), installation);

        let elsewhere = tempfile::tempdir().unwrap();
        let new_ledger = ledger(elsewhere.path()).await;
        assert_eq!(data_dir.installation(&new_ledger).await.unwrap(), installation);
    }

    #[tokio::test]
    async fn folder_and_ledger_of_two_installations_are_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data_dir = DataDir::open(one.path()).unwrap();
        data_dir.installation(&ledger(one.path()).await).await.unwrap();
        let others = ledger(other.path()).await;
        DataDir::open(other.path()).unwrap().installation(&others).await.unwrap();
        let error = data_dir.installation(&others).await.unwrap_err().to_string();
        assert!(error.contains("two installations"), "{error}");
    }

    #[tokio::test]
    async fn a_damaged_identity_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(INSTALLATION_FILE), "not an id").unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        let error = data_dir.installation(&ledger(folder.path()).await).await.unwrap_err().to_string();
        assert!(error.contains("restore it from a backup"), "{error}");
    }

    #[test]
    fn keys_are_made_once_and_differ() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        let key = data_dir.key("token").unwrap();
        assert_eq!(data_dir.key("token").unwrap(), key);
        assert_ne!(data_dir.key("audit").unwrap(), key);
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        let held = data_dir.lock().unwrap();
        assert!(data_dir.lock().unwrap_err().to_string().contains("already serves"));
        drop(held);
        data_dir.lock().unwrap();
    }
}
