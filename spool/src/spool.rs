//! The spool itself: opened once by one process, shared by everybody in it.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use imaging::{SopClassUid, SopInstanceUid};

use crate::{
    buffers::Buffers,
    config::{Durability, SameUid, SpoolConfig},
    error::{KeepError, OpenError, PutError, ReadError},
    head::Head,
    incoming::Incoming,
    journal::{Journal, Leftovers, Receipt, spawn_keeper},
    layout::Layout,
    outcome::{InstanceKey, Outcome},
    part10::{FileMeta, Prologue},
    placing::{Claim, Placing},
    quarantine::Quarantine,
    space::Space,
    stored::{HeadError, Stored},
    walk::{Found, Walk, found},
};

/// A handle to the one spool of this process.
#[derive(Debug, Clone)]
pub struct Spool(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) journal: Arc<Journal>,
    pub(crate) quarantine: Quarantine,
    pub(crate) space: Space,
    pub(crate) buffers: Buffers,
    pub(crate) placing: Placing,
    pub(crate) durability: Durability,
    same_uid: SameUid,
    leftovers: Mutex<Leftovers>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    root: File,
    /// Held for as long as this spool is open.
    _lock: File,
}

impl Spool {
    /// Opens the spool: takes its lock, removes unfinished files, brings back what the
    /// journal of a process that died holds.
    ///
    /// # Errors
    /// When a folder cannot be used, or another process has the spool open.
    pub fn open(config: SpoolConfig) -> Result<Self, OpenError> {
        let mut layout = Layout::new(&config.root);
        for folder in [config.root.clone(), layout.temporary(), layout.journal(), config.quarantine.clone()] {
            fs::create_dir_all(&folder).map_err(|source| OpenError::Folder { path: folder, source })?;
        }
        let folder_error = |source| OpenError::Folder { path: config.root.clone(), source };
        let lock = File::create(layout.lock()).map_err(folder_error)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(config.root)),
            Err(TryLockError::Error(source)) => return Err(folder_error(source)),
        }
        empty(&layout.temporary()).map_err(folder_error)?;
        layout.prefer_nameless().map_err(folder_error)?;
        let root = File::open(&config.root).map_err(folder_error)?;
        let (journal, leftovers) = open_journal(&layout, &config, &root)
            .map_err(|source| OpenError::Journal { path: layout.journal(), source })?;
        let keeper =
            root.try_clone().and_then(|root| spawn_keeper(journal.clone(), root)).map_err(folder_error)?;
        Ok(Self(Arc::new(Shared {
            quarantine: Quarantine::new(&config.quarantine, config.durability),
            space: Space::new(&config.root, config.min_free_bytes),
            buffers: Buffers::default(),
            placing: Placing::default(),
            durability: config.durability,
            same_uid: config.same_uid,
            leftovers: Mutex::new(leftovers),
            keeper: Mutex::new(Some(keeper)),
            layout,
            journal,
            root,
            _lock: lock,
        })))
    }

    pub fn durability(&self) -> Durability {
        self.0.durability
    }

    /// What is to become of a second data set under a known UID.
    pub fn same_uid(&self) -> SameUid {
        self.0.same_uid
    }

    /// Room on its disk.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.0.space.free_bytes()
    }

    /// Below this much room nothing is accepted.
    pub fn min_free_bytes(&self) -> u64 {
        self.0.space.min_free_bytes()
    }

    /// Says whether there is room for more.
    ///
    /// # Errors
    /// [`KeepError::Full`] while the disk is below its watermark.
    pub fn check_space(&self) -> Result<(), KeepError> {
        self.0.space.check()
    }

    /// Begins to receive an instance whose data set follows.
    ///
    /// # Errors
    /// When the disk is below its watermark.
    pub fn receive(&self, meta: FileMeta) -> Result<Incoming, KeepError> {
        self.0.space.check()?;
        Ok(Incoming::new(self.0.clone(), meta))
    }

    /// Puts a whole Part 10 file into the spool; its data set is kept as it is. The caller
    /// writes the ledger's row in its own transaction: nothing is left to reconcile.
    ///
    /// # Errors
    /// When it is no file that can be kept.
    pub fn put(&self, bytes: &[u8]) -> Result<Outcome, PutError> {
        let prologue = Prologue::parse(bytes)?;
        let dataset = &bytes[prologue.dataset_offset..];
        let mut head = Head::new(&prologue.transfer_syntax);
        head.push(dataset);
        let sop_class = head.sop_class().and_then(|uid| SopClassUid::parse(uid).ok());
        let sop_instance = head.sop_instance().and_then(|uid| SopInstanceUid::parse(uid).ok());
        let mut incoming = self.receive(FileMeta {
            sop_class: sop_class.ok_or(PutError::Unidentified)?,
            sop_instance: sop_instance.ok_or(PutError::Unidentified)?,
            transfer_syntax: prologue.transfer_syntax,
            calling_ae_title: prologue.source_ae_title,
        })?;
        incoming.write(dataset)?;
        let mut outcome = incoming.finish()?;
        if let Outcome::Kept(kept) = &mut outcome {
            std::mem::replace(&mut kept.receipt, Receipt::settled()).give_back();
        }
        Ok(outcome)
    }

    /// Gives a receipt back: the ledger has the instance's row.
    pub fn recorded(&self, receipt: Receipt) {
        receipt.give_back();
    }

    /// Instances that are kept and whose receipts were dropped: no row will come of them unless the caller
    /// records them, and gives the receipts back.
    pub fn owed(&self) -> Vec<(InstanceKey, Receipt)> {
        self.0.journal.take_owed()
    }

    pub fn path_of(&self, key: &InstanceKey) -> PathBuf {
        self.0.layout.instance(key)
    }

    /// Says whether the instance is kept, whole, and as durable as configured.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn holds(&self, key: &InstanceKey) -> io::Result<bool> {
        Ok(Stored::open(&self.path_of(key))?.is_some_and(|stored| stored.is_whole()))
    }

    /// The whole file, its data set checked against its digest.
    ///
    /// # Errors
    /// When it is not there, or is not what was kept.
    pub fn read(&self, key: &InstanceKey) -> Result<Vec<u8>, ReadError> {
        Stored::open(&self.path_of(key)).map_err(ReadError::Io)?.ok_or(ReadError::Missing)?.read()
    }

    /// Reads an instance through and compares it with the length and digest that it was kept with.
    ///
    /// # Errors
    /// When it is not there, or is not what was kept.
    pub fn verify(&self, key: &InstanceKey) -> Result<(), ReadError> {
        Stored::open(&self.path_of(key)).map_err(ReadError::Io)?.ok_or(ReadError::Missing)?.verify()
    }

    /// What the spool knows of one instance, from its file alone.
    ///
    /// # Errors
    /// When it is not there, or its head cannot be read.
    pub fn find(&self, key: &InstanceKey) -> Result<Found, HeadError> {
        found(&self.path_of(key))
    }

    /// Deletes an instance, and folders that it leaves empty; no error when it is not there.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn delete(&self, key: &InstanceKey) -> io::Result<()> {
        self.0.delete(&Claim::take(&self.0, key.clone()))
    }

    /// Every instance, in no order.
    pub fn walk(&self) -> Walk {
        Walk::new(self.0.layout.root())
    }

    /// What a process that died has kept, and perhaps not recorded in the ledger.
    pub fn unrecorded(&self) -> Vec<InstanceKey> {
        self.0.leftovers.lock().unwrap_or_else(PoisonError::into_inner).kept.clone()
    }

    /// Says that the ledger has rows for all of [`Spool::unrecorded`].
    ///
    /// # Errors
    /// When the old journal cannot be freed; it is replayed again then.
    pub fn reconciled(&self) -> io::Result<()> {
        let mut leftovers = self.0.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.journal.release(&mut leftovers)
    }
}

impl Shared {
    /// Deletes the claimed instance, and folders that it leaves empty.
    pub(crate) fn delete(&self, claim: &Claim) -> io::Result<()> {
        let path = self.layout.instance(claim.key());
        self.journal.note_deleted(claim.key())?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for folder in path.ancestors().skip(1).take(2) {
            if fs::remove_dir(folder).is_err() {
                break; // not empty, or somebody else was quicker
            }
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.journal.stop();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = keeper
            && thread.join().is_err()
        {
            tracing::error!("the spool's journal thread panicked");
        }
        self.journal.close(&self.root);
    }
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

/// Replays what the journal holds, brings that to the disk, and starts afresh.
fn open_journal(layout: &Layout, config: &SpoolConfig, root: &File) -> io::Result<(Arc<Journal>, Leftovers)> {
    let mut leftovers = Leftovers::read(&layout.journal(), |key, file| restore(layout, key, file))?;
    leftovers.kept.retain(|key| layout.instance(key).exists());
    if !leftovers.kept.is_empty() {
        tracing::info!(
            instances = leftovers.kept.len(),
            "replayed the intake journal of a process that died"
        );
        rustix::fs::syncfs(root)?;
    }
    let journal = Journal::start(
        &layout.journal(),
        config.durability,
        Space::new(&config.root, config.min_free_bytes),
        config.journal_bytes,
        &mut leftovers,
    )?;
    Ok((Arc::new(journal), leftovers))
}

/// Writes an instance's file from the journal unless it is there and is what was kept: a disk that lost power
/// may have a file's length and not its bytes.
fn restore(layout: &Layout, key: &InstanceKey, file: &[u8]) -> io::Result<()> {
    let target = layout.instance(key);
    if Stored::open(&target)?.is_some_and(|stored| stored.verify().is_ok()) {
        return Ok(());
    }
    let mut temporary = layout.new_temporary()?;
    temporary.file.write_all(file)?;
    temporary.replace(&target)
}
