//! What associations brought, as rows of the ledger: insistently, and none at the expense of another.

use std::{io, sync::Arc, time::Duration};

use admission::{AdmissionError, Aside, compare_with_first, replace_known, set_other_aside};
use ledger::{AssociationId, Ledger, NewInstance, Recorded};
use spool::{Receipt, Spool};

use super::{Alone, Arrival, By};

/// Between attempts while the ledger does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Calls until the ledger has done it, for as long as waiting may help.
async fn insist<T, E, F>(what: &str, call: impl Fn() -> F) -> Result<T, AdmissionError>
where
    E: Into<AdmissionError>,
    F: Future<Output = Result<T, E>>,
{
    let mut told = false;
    loop {
        match call().await.map_err(Into::into) {
            Err(error) if error.may_pass() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the ledger does not answer; {what} waits"
                    );
                }
                tokio::time::sleep(RETRY).await;
            }
            answer => return answer,
        }
    }
}

/// The same in the name of an association. The row of that is not flushed by itself, so that a database which went
/// down may have lost it: then it is opened again. `None` for what is refused for good, which is logged.
async fn insist_for<T, E, F>(
    ledger: &Ledger,
    by: &By,
    what: &str,
    call: impl Fn(AssociationId) -> F,
) -> Option<T>
where
    E: Into<AdmissionError>,
    F: Future<Output = Result<T, E>>,
{
    let mut was_opened_again = false;
    loop {
        let id = association(ledger, by).await?;
        let error = match insist(what, || call(id)).await {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        if was_opened_again || !is_lost(ledger, id).await {
            log_refusal(what, &error);
            return None;
        }
        tracing::warn!("the ledger has lost an association, which is opened again");
        *by.id() = None;
        was_opened_again = true;
    }
}

async fn is_lost(ledger: &Ledger, id: AssociationId) -> bool {
    matches!(insist("an association", || ledger.association(id)).await, Ok(None))
}

fn log_refusal(what: &str, error: &AdmissionError) {
    tracing::error!(error = error as &dyn std::error::Error, "the ledger refuses {what}");
}

async fn association(ledger: &Ledger, by: &By) -> Option<AssociationId> {
    let known = *by.id();
    if known.is_some() {
        return known;
    }
    let opened = insist("an association", || ledger.open_association(&by.new)).await;
    let id = opened.inspect_err(|error| log_refusal("an association", error)).ok()?;
    *by.id() = Some(id);
    Some(id)
}

pub(super) async fn record(ledger: &Ledger, spool: &Spool, batch: Vec<(Arc<By>, Box<Arrival>)>) {
    let (mut rows, mut brought) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for (by, arrival) in batch {
        let Some(association) = association(ledger, &by).await else {
            log_unrecorded(&arrival.instance.header);
            continue;
        };
        let (row, receipt) = arrival.split(association);
        rows.push(row);
        brought.push((by, receipt));
    }
    if rows.is_empty() {
        return;
    }
    let recorded = match insist("a batch of instances", || ledger.record_instances(&rows)).await {
        Ok(recorded) => recorded.into_iter().map(Some).collect(),
        Err(error) => {
            log_refusal("a batch of instances", &error);
            record_one_by_one(ledger, &rows, &brought).await
        }
    };
    metrics::counter!("overread_instances_recorded_total")
        .increment(recorded.iter().flatten().count() as u64);
    for ((row, (by, receipt)), recorded) in rows.iter().zip(brought).zip(recorded) {
        let Some(recorded) = recorded else {
            log_unrecorded(&row.header);
            continue;
        };
        // One whose receipt is not given back is in service without a row: the journal goes on naming it.
        if follow(ledger, spool, &by, row, recorded, receipt.is_some()).await {
            give_back(spool, receipt);
        }
    }
}

/// One row that the ledger refuses must not take the others with it. One answer for each, in order.
async fn record_one_by_one(
    ledger: &Ledger,
    rows: &[NewInstance],
    brought: &[(Arc<By>, Option<Receipt>)],
) -> Vec<Option<Recorded>> {
    let mut recorded = Vec::with_capacity(rows.len());
    for (row, (by, _)) in rows.iter().zip(brought) {
        let one = insist_for(ledger, by, "an instance", |id| async move {
            ledger.record_instances(&[of(row, id)]).await
        });
        recorded.push(one.await.and_then(|answers| answers.first().copied()));
    }
    recorded
}

fn of(row: &NewInstance, association: AssociationId) -> NewInstance {
    NewInstance { association, ..row.clone() }
}

fn give_back(spool: &Spool, receipt: Option<Receipt>) {
    if let Some(receipt) = receipt {
        spool.recorded(receipt);
    }
}

fn log_unrecorded(header: &imaging::Header) {
    tracing::error!(study.uid = %header.study, "an instance was kept and has no row; the journal goes on naming it");
}

pub(super) async fn note_alone(ledger: &Ledger, spool: &Spool, alone: Alone) {
    match alone {
        Alone::Replaced { by, instance, aside } => replaced(ledger, spool, &by, *instance, &aside).await,
        Alone::Twin { by, instance, aside } => twin(ledger, spool, &by, *instance, &aside).await,
        Alone::SetAside { by, aside } => note_aside(ledger, &by, &aside).await,
        Alone::Ended { by, ending, at } => {
            let id = *by.id();
            if let Some(id) = id {
                let ended = insist("the end of an association", || ledger.end_association(id, ending, at));
                if let Err(error) = ended.await {
                    log_refusal("the end of an association", &error);
                }
            }
        }
        Alone::Barrier(sender) => {
            // Whoever waited may have gone.
            let _ = sender.send(());
        }
    }
}

async fn replaced(ledger: &Ledger, spool: &Spool, by: &By, arrival: Arrival, aside: &Aside) {
    let Some(association) = association(ledger, by).await else {
        return log_unrecorded(&arrival.instance.header);
    };
    let (row, receipt) = arrival.split(association);
    let done = insist_for(ledger, by, "an instance that replaces another", |id| {
        let row = of(&row, id);
        async move { replace_known(spool, ledger, &row).await }
    });
    match done.await {
        Some(()) => give_back(spool, receipt),
        None => log_unrecorded(&row.header),
    }
    note_aside(ledger, by, aside).await;
}

/// The first stays in service, and its row is there before this one is compared with it.
async fn twin(ledger: &Ledger, spool: &Spool, by: &By, arrival: Arrival, aside: &Aside) {
    let Some(association) = association(ledger, by).await else { return };
    let (row, _) = arrival.split(association);
    let compared = insist_for(ledger, by, "an instance with the UID of another", |id| {
        let row = of(&row, id);
        async move { compare_with_first(spool, ledger, &row).await }
    });
    if compared.await == Some(Recorded::Misplaced) {
        misplaced(ledger, spool, by, &row).await;
    }
    note_aside(ledger, by, aside).await;
}

/// Does what follows from the ledger's answer. False when an instance stays in service that has no row.
async fn follow(
    ledger: &Ledger,
    spool: &Spool,
    by: &By,
    row: &NewInstance,
    recorded: Recorded,
    is_in_service: bool,
) -> bool {
    match recorded {
        Recorded::Misplaced => misplaced(ledger, spool, by, row).await,
        // Its file is in service, where that of the known data set was lost.
        Recorded::Twin if is_in_service => other_than_known(ledger, spool, by, row).await,
        Recorded::New | Recorded::NewOfOtherPatient | Recorded::Same | Recorded::Twin => true,
    }
}

/// Its UID is another instance's: it goes out of service, and stays in quarantine.
async fn misplaced(ledger: &Ledger, spool: &Spool, by: &By, row: &NewInstance) -> bool {
    tracing::warn!(study.uid = %row.header.study, "an instance is known in another study or series");
    let moved = Aside::misplaced(spool, &row.header).await;
    note_moved(ledger, by, moved, "an instance of another study could not be put into quarantine").await
}

async fn other_than_known(ledger: &Ledger, spool: &Spool, by: &By, row: &NewInstance) -> bool {
    let moved = set_other_aside(spool, row).await;
    note_moved(ledger, by, moved, "another data set than the known one could not be put into quarantine")
        .await
}

/// False when it was not moved.
async fn note_moved(ledger: &Ledger, by: &By, moved: io::Result<Option<Aside>>, failure: &str) -> bool {
    match moved {
        Ok(Some(aside)) => note_aside(ledger, by, &aside).await,
        Ok(None) => {}
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "{failure}");
            return false;
        }
    }
    true
}

async fn note_aside(ledger: &Ledger, by: &By, aside: &Aside) {
    insist_for(ledger, by, "a file in quarantine", |id| aside.record(ledger, Some(id))).await;
}
