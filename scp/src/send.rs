//! Sends files to a peer: several associations, retries, more contexts than one association holds.
//!
//! Files are sent as they are, in their own transfer syntax; nothing is transcoded. Each file
//! is reported once, as stored or as failed; what was stored is not sent again. Calls block.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{Seek, SeekFrom},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use imaging::Header;
use spool::Prologue;

use crate::{
    client::{CONTEXTS_MAX, Client, ClientError, ClientOptions, Proposal},
    command::Priority,
    sop_class::VERIFICATION,
    status::Status,
    transfer_syntax::IMPLICIT_VR_LITTLE_ENDIAN,
};

#[derive(Debug, Clone)]
pub struct SendOptions {
    pub peer: ClientOptions,
    /// Associations at once.
    pub associations: usize,
    /// Tries of one file after the first, for failures that may pass.
    pub retries: u32,
    /// Before the first retry; doubled for each one after it.
    pub retry_pause: Duration,
    pub priority: Priority,
}

impl SendOptions {
    pub fn new(peer: ClientOptions) -> Self {
        Self {
            peer,
            associations: 1,
            retries: 3,
            retry_pause: Duration::from_secs(1),
            priority: Priority::Medium,
        }
    }
}

/// What became of one file.
#[derive(Debug)]
pub enum SendEvent<'file> {
    Stored {
        path: &'file PathBuf,
        status: Status,
    },
    /// It will be tried again.
    Postponed {
        path: &'file PathBuf,
        reason: &'file SendFailure,
    },
    Failed {
        path: &'file PathBuf,
        reason: &'file SendFailure,
    },
}

/// Why a file was not stored.
#[derive(Debug, thiserror::Error)]
pub enum SendFailure {
    #[error("it is no DICOM file that can be sent")]
    NotSendable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Client(#[from] ClientError),
}

#[derive(Debug, Default)]
pub struct SendReport {
    pub stored: usize,
    pub failed: Vec<(PathBuf, SendFailure)>,
}

/// Asks the peer whether it is there (C-ECHO); gives the time that it took.
///
/// # Errors
/// When it does not answer with success.
pub fn echo(peer: &ClientOptions) -> Result<Duration, ClientError> {
    let begun = Instant::now();
    let mut client = Client::open(peer, &[Proposal::new(VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)])?;
    client.echo()?;
    client.release()?;
    Ok(begun.elapsed())
}

/// Sends `files`; `progress` hears of each, from several threads.
pub fn send(
    files: Vec<PathBuf>,
    options: &SendOptions,
    progress: &(dyn Fn(SendEvent<'_>) + Sync),
) -> SendReport {
    let mut report = SendReport::default();
    let mut by_context: BTreeMap<(String, String), Vec<Item>> = BTreeMap::new();
    for path in files {
        match Item::read(path) {
            Ok(item) => {
                let key = (item.proposal.sop_class.clone(), item.proposal.transfer_syntax.clone());
                by_context.entry(key).or_default().push(item);
            }
            Err((path, reason)) => {
                progress(SendEvent::Failed { path: &path, reason: &reason });
                report.failed.push((path, reason));
            }
        }
    }
    let groups: Vec<Vec<Item>> = by_context.into_values().collect();
    let mut groups = groups.into_iter().peekable();
    while groups.peek().is_some() {
        let items: Vec<Vec<Item>> = groups.by_ref().take(CONTEXTS_MAX).collect();
        Batch::new(items, options, progress).run(&mut report);
    }
    report
}

/// One file to send.
#[derive(Debug)]
struct Item {
    path: PathBuf,
    proposal: Proposal,
    sop_instance: String,
    dataset_offset: u64,
    failures: u32,
}

impl Item {
    fn read(path: PathBuf) -> Result<Self, (PathBuf, SendFailure)> {
        let prologue = match Prologue::read(&path) {
            Ok(prologue) => prologue,
            Err(error) => return Err((path, SendFailure::NotSendable(error.into()))),
        };
        let (sop_class, sop_instance) = match (prologue.sop_class, prologue.sop_instance) {
            (Some(sop_class), Some(sop_instance)) => (sop_class, sop_instance),
            // A meta group that lacks them is not rare: ask the data set.
            _ => match Header::read_file(&path) {
                Ok(header) => (header.sop_class, header.sop_instance),
                Err(error) => return Err((path, SendFailure::NotSendable(error.into()))),
            },
        };
        Ok(Self {
            path,
            proposal: Proposal::new(sop_class.as_str(), prologue.transfer_syntax.as_str()),
            sop_instance: sop_instance.to_string(),
            dataset_offset: prologue.dataset_offset as u64,
            failures: 0,
        })
    }
}

/// Files whose contexts fit one association.
struct Batch<'options> {
    options: &'options SendOptions,
    progress: &'options (dyn Fn(SendEvent<'_>) + Sync),
    proposals: Vec<Proposal>,
    waiting: Mutex<VecDeque<Item>>,
    done: Mutex<SendReport>,
}

impl<'options> Batch<'options> {
    fn new(
        groups: Vec<Vec<Item>>,
        options: &'options SendOptions,
        progress: &'options (dyn Fn(SendEvent<'_>) + Sync),
    ) -> Self {
        let proposals =
            groups.iter().filter_map(|group| group.first()).map(|item| item.proposal.clone()).collect();
        Self {
            options,
            progress,
            proposals,
            waiting: Mutex::new(groups.into_iter().flatten().collect()),
            done: Mutex::default(),
        }
    }

    fn run(self, report: &mut SendReport) {
        let files = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len();
        thread::scope(|scope| {
            for _ in 0..self.options.associations.clamp(1, files.max(1)) {
                scope.spawn(|| self.keep_sending());
            }
        });
        let done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.stored += done.stored;
        report.failed.extend(done.failed);
    }

    fn keep_sending(&self) {
        let mut client = None;
        while let Some(item) = self.next() {
            let result = self.send_one(&mut client, &item);
            match result {
                Ok(status) => self.stored(&item, status),
                Err(failure) => self.failed(item, failure),
            }
        }
        if let Some(client) = client
            && let Err(error) = client.release()
        {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the peer did not release the association"
            );
        }
    }

    fn next(&self) -> Option<Item> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn send_one(&self, client: &mut Option<Client>, item: &Item) -> Result<Status, SendFailure> {
        let mut file = File::open(&item.path).map_err(ClientError::File)?;
        file.seek(SeekFrom::Start(item.dataset_offset)).map_err(ClientError::File)?;
        let mut open = match client.take() {
            Some(open) => open,
            None => Client::open(&self.options.peer, &self.proposals)?,
        };
        let result = open.store(&item.proposal, &item.sop_instance, self.options.priority, &mut file);
        match &result {
            Err(error) if !error.leaves_association_usable() => open.abort(),
            _ => *client = Some(open),
        }
        Ok(result?)
    }

    fn stored(&self, item: &Item, status: Status) {
        (self.progress)(SendEvent::Stored { path: &item.path, status });
        self.done.lock().unwrap_or_else(PoisonError::into_inner).stored += 1;
    }

    fn failed(&self, mut item: Item, reason: SendFailure) {
        let may_pass = matches!(&reason, SendFailure::Client(error) if error.may_pass());
        if may_pass && item.failures < self.options.retries {
            (self.progress)(SendEvent::Postponed { path: &item.path, reason: &reason });
            thread::sleep(self.options.retry_pause * 2_u32.saturating_pow(item.failures.min(10)));
            item.failures += 1;
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(item);
            return;
        }
        (self.progress)(SendEvent::Failed { path: &item.path, reason: &reason });
        self.done.lock().unwrap_or_else(PoisonError::into_inner).failed.push((item.path, reason));
    }
}
