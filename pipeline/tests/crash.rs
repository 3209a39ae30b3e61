//! Killed at every kill point and at arbitrary times, the flow goes on from where it was: in the
//! end each study has exactly one job, one segmentation and one report in a real Orthanc.
//!
//! The process that dies is this program itself, started with `child FOLDER ORTHANC STUDY`.

#![allow(clippy::unwrap_used, reason = "in a test a failed step fails the test")]
#![allow(clippy::print_stderr, reason = "it has no test harness that would say what is done")]
#![allow(dead_code, reason = "the other tests use more of these modules")]

#[path = "it/phantom.rs"]
mod phantom;
#[path = "it/world.rs"]
mod world;

use std::{
    path::Path,
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use ledger::JobState;
use peers::Orthanc;
use phantom::Phantom;
use pipeline::{KILL_AT_VARIABLE, KillPoint};
use world::{World, eventually};

/// Processes that are killed without regard to where they are, unless `OVERREAD_KILLS` says how many.
const ARBITRARY_KILLS: u32 = 12;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1..).unwrap_or_default() {
        [word, folder, orthanc, number] if word == "child" => {
            child(Path::new(folder), orthanc, number.parse().unwrap());
        }
        // The filters of `cargo test` name tests of other programs.
        [filter, ..] if !filter.starts_with('-') && !"crash".contains(filter.as_str()) => {}
        _ => parent(),
    }
}

/// The study of the last named point comes in two halves, so that the second supersedes the first.
const LATE: u32 = KillPoint::ALL.len() as u32;
/// So many slices look like a whole series.
const HALF: usize = 8;

/// Receives the studies up to `number`, as the listener would, and works until nothing is left to do.
fn child(folder: &Path, orthanc: &str, number: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::at(folder).await.and_orthanc("pacs", orthanc);
        for study in 1..=number {
            let phantom = Phantom::new(study);
            let files = phantom.files();
            send_until(&world, &phantom, if study == LATE { &files[..HALF] } else { &files }).await;
        }
        let running = world.start();
        if number >= LATE {
            let late = Phantom::new(LATE);
            eventually("the half is done", async || {
                world.states(&late.study()).await.contains(&JobState::Done)
            })
            .await;
            wait_until_all_has_arrived(&world).await;
            send_until(&world, &late, &late.files()).await;
        }
        for study in 1..=number {
            let jobs = if study == LATE { vec![JobState::Done; 2] } else { vec![JobState::Done] };
            let study = Phantom::new(study).study();
            eventually("the jobs are done", async || world.states(&study).await == jobs).await;
        }
        // The late study has the objects of two results, and a note.
        let objects = if number < LATE { 2 * number } else { 2 * number + 3 };
        world.wait_for_proof("pacs", objects as usize).await;
        running.stop().await;
    });
}

async fn wait_until_all_has_arrived(world: &World) {
    eventually("the outbox is empty", async || world.ledger.outbox_counts().await.unwrap().is_empty()).await;
}

/// A sender that got no answer sends again.
async fn send_until(world: &World, phantom: &Phantom, files: &[Vec<u8>]) {
    let known = world.ledger.study(&phantom.study()).await.unwrap();
    if known.is_none_or(|row| row.instance_count < files.len() as u64) {
        world.send(files).await;
    }
}

fn start(folder: &Path, orthanc: &Orthanc, number: u32, kill_at: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("child").arg(folder).arg(orthanc.url()).arg(number.to_string());
    match kill_at {
        Some(point) => command.env(KILL_AT_VARIABLE, point),
        None => command.env_remove(KILL_AT_VARIABLE),
    };
    command.spawn().unwrap()
}

fn parent() {
    let orthanc = Orthanc::start();
    let folder = tempfile::Builder::new().prefix("overread-crash").tempdir().unwrap();
    let mut number = 0;
    for point in KillPoint::ALL {
        number += 1;
        let begun = Instant::now();
        // In the middle of the windows, not before the first.
        let passes = if *point == KillPoint::Inferring { ":3" } else { "" };
        let died = start(folder.path(), &orthanc, number, Some(&format!("{point}{passes}"))).wait().unwrap();
        assert!(!died.success(), "nothing passed the kill point {point}");
        let ended = start(folder.path(), &orthanc, number, None).wait().unwrap();
        assert!(ended.success(), "the run after {point} did not finish its work");
        eprintln!("killed at {point}: recovered after {:?}", begun.elapsed());
    }
    for kill in 0..arbitrary_kills() {
        number += 1;
        let mut child = start(folder.path(), &orthanc, number, None);
        // Spread over the second or so that a run takes.
        sleep(Duration::from_millis(u64::from(kill * 137 % 1100)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ended = start(folder.path(), &orthanc, number, None).wait().unwrap();
    assert!(ended.success(), "the last run did not finish the work");
    each_study_has_one_segmentation_and_one_report(&orthanc, number);
    eprintln!("killed {number} times: each of {number} studies has one job, one SEG, one SR");
}

fn arbitrary_kills() -> u32 {
    std::env::var("OVERREAD_KILLS")
        .map_or(ARBITRARY_KILLS, |text| text.parse().expect("OVERREAD_KILLS is a number"))
}

fn each_study_has_one_segmentation_and_one_report(orthanc: &Orthanc, studies: u32) {
    let found = orthanc.get("/studies?expand");
    let late = Phantom::new(LATE).study();
    assert_eq!(found.as_array().unwrap().len(), studies as usize);
    for study in found.as_array().unwrap() {
        let mut modalities: Vec<String> = Vec::new();
        for series in study["Series"].as_array().unwrap() {
            let series = orthanc.get(&format!("/series/{}", series.as_str().unwrap()));
            assert_eq!(series["Instances"].as_array().unwrap().len(), 1);
            modalities.push(series["MainDicomTags"]["Modality"].as_str().unwrap().to_owned());
        }
        modalities.sort();
        if study["MainDicomTags"]["StudyInstanceUID"] == late.as_str() {
            assert_eq!(modalities, ["KO", "SEG", "SEG", "SR", "SR"]);
        } else {
            assert_eq!(modalities, ["SEG", "SR"]);
        }
    }
}
