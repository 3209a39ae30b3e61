//! The service is killed again and again while studies pass: nothing is lost, nothing comes twice.
//!
//! Half of the studies come by C-STORE, the others by Orthanc, which is the archive too; the second
//! half of some comes late. Kills follow each study through the named points; between them are
//! some at random times.

#![allow(clippy::print_stderr, reason = "a long run says how far it is")]

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use peers::{Guarded, Http, Orthanc, OrthancOptions, wait_until};
use pipeline::{KILL_AT_VARIABLE, KillPoint};
use serde_json::Value;

use crate::{
    delivery::{instances_of, items},
    orthanc::{bright, set_up},
    phantom::Phantom,
    service::{Service, Site},
    study::try_dcmsend,
};

/// Moments at which the service is killed, unless `OVERREAD_KILLS` says how many.
const KILLS: u32 = 16;
/// What the moments are derived from, unless `OVERREAD_KILL_SEED` says what.
const SEED: u64 = 20_260_102;
/// A point that the flow does not reach by then is given up, and the service killed where it is.
const POINT_WITHIN: Duration = Duration::from_secs(5);
/// The longest life of a service that is killed at a random time.
const LIFE_MAX_MS: u64 = 3500;

/// The moments of one study, in the order in which it passes them; `None` is any time.
type Moments = [Option<KillPoint>; 8];

/// Each study is given one of these.
const MOMENTS: [Moments; 3] = [
    [
        Some(KillPoint::Enqueued),
        Some(KillPoint::Claimed),
        Some(KillPoint::Inferring),
        Some(KillPoint::Inferred),
        Some(KillPoint::Completed),
        Some(KillPoint::Sent),
        Some(KillPoint::Seen),
        None,
    ],
    [
        Some(KillPoint::Looked),
        None,
        Some(KillPoint::Inferring),
        Some(KillPoint::Kept),
        Some(KillPoint::Released),
        Some(KillPoint::DeliveryClaimed),
        Some(KillPoint::Delivered),
        Some(KillPoint::Proved),
    ],
    // That of a study whose second half comes late.
    [
        Some(KillPoint::Enqueued),
        None,
        Some(KillPoint::Proved),
        Some(KillPoint::Inferring),
        Some(KillPoint::Inferred),
        Some(KillPoint::Sent),
        Some(KillPoint::Superseded),
        Some(KillPoint::Proved),
    ],
];
const PER_STUDY: u32 = MOMENTS[0].len() as u32;
/// The moment before which the second half of a late study comes.
const LATE_AFTER: u32 = 3;

#[test]
fn killed_at_any_moment_every_study_gets_one_result_of_each_kind() {
    let kills = number("OVERREAD_KILLS").map_or(KILLS, |kills| u32::try_from(kills).expect("a small number"));
    let seed = number("OVERREAD_KILL_SEED").unwrap_or(SEED);
    let packages = slow_package();
    let site = Site::with_models(packages.path(), "");
    let orthanc = set_up(&site, "main", OrthancOptions::default());
    let studies: Vec<SentStudy> = (0..kills.div_ceil(PER_STUDY)).map(SentStudy::new).collect();

    let killed = AtomicU32::new(0);
    let tally = std::thread::scope(|scope| {
        scope.spawn(|| send_all(&studies, &site, &orthanc, &killed));
        kill_all(&site, &studies, kills, &mut Random(seed), &killed)
    });
    let service = site.serve();
    for study in &studies {
        has_one_result_of_each_kind(&service, &orthanc, study);
    }
    nothing_is_stuck(&service.api);
    eprintln!(
        "seed {seed}: {tally}; each of {} studies has one result in force, one SEG and one SR of each result",
        studies.len()
    );
}

/// The package `bright` in windows so small that a study takes it a second or two.
fn slow_package() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("overread-slow").tempdir().expect("a temporary folder");
    let (from, to) = (bright().join("bright"), folder.path().join("bright"));
    std::fs::create_dir_all(to.join("selftest")).expect("a folder in our folder");
    for file in ["model.onnx", "selftest/input.npy", "selftest/expected.npy"] {
        std::fs::copy(from.join(file), to.join(file)).expect("a file of the repository");
    }
    let manifest = std::fs::read_to_string(from.join("model.toml")).expect("a file of the repository");
    let slow = manifest.replace("roi = [16, 16, 8]", "roi = [4, 4, 4]");
    assert_ne!(slow, manifest);
    std::fs::write(to.join("model.toml"), slow).expect("a file in our folder");
    folder
}

/// A study on its way, by one door or the other.
struct SentStudy {
    phantom: Phantom,
    files: Vec<PathBuf>,
    door: Door,
    moments: Moments,
    _folder: tempfile::TempDir,
}

#[derive(Debug, Clone, Copy)]
enum Door {
    Dimse,
    Orthanc,
}

impl SentStudy {
    fn new(number: u32) -> Self {
        let phantom = Phantom { slices: 40, side: 64, ..Phantom::new(number + 1) };
        let folder =
            tempfile::Builder::new().prefix("overread-phantom").tempdir().expect("a temporary folder");
        let files = phantom.write_to(folder.path());
        let door = if number % 4 < 2 { Door::Dimse } else { Door::Orthanc };
        // Every sixth is late; the others take turns.
        let moments = if number % 6 == 5 { MOMENTS[2] } else { MOMENTS[(number % 6 % 2) as usize] };
        Self { phantom, files, door, moments, _folder: folder }
    }

    fn is_late(&self) -> bool {
        self.moments == MOMENTS[2]
    }

    fn uid(&self) -> String {
        self.phantom.study().as_str().to_owned()
    }
}

/// Sends the next study each time that the last one's moments are over.
fn send_all(studies: &[SentStudy], site: &Site, orthanc: &Orthanc, killed: &AtomicU32) {
    for (study, turn) in studies.iter().zip(0..) {
        wait_for_kills(killed, turn * PER_STUDY);
        if study.is_late() {
            let (first, second) = study.files.split_at(study.files.len() / 2);
            send(first, study.door, site, orthanc);
            wait_for_kills(killed, turn * PER_STUDY + LATE_AFTER);
            send(second, study.door, site, orthanc);
        } else {
            send(&study.files, study.door, site, orthanc);
        }
    }
}

fn wait_for_kills(killed: &AtomicU32, count: u32) {
    wait_until("the turn of the next study", Duration::from_secs(3600), || {
        (killed.load(Ordering::Relaxed) >= count).then_some(())
    });
}

fn send(files: &[PathBuf], door: Door, site: &Site, orthanc: &Orthanc) {
    match door {
        Door::Orthanc => files.iter().for_each(|file| drop(orthanc.store(file))),
        // As a modality does: what was not taken is sent again, all of it.
        Door::Dimse => wait_until("the study to be taken", Duration::from_secs(600), || {
            try_dcmsend(files, site.dicom_port()).then_some(())
        }),
    }
}

/// How the service died.
#[derive(Default)]
struct Tally {
    at_point: [u32; KillPoint::ALL.len()],
    at_random: u32,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kills = self.at_random + self.at_point.iter().sum::<u32>();
        write!(formatter, "killed {kills} times: {} at random times", self.at_random)?;
        for (point, times) in KillPoint::ALL.iter().zip(self.at_point) {
            write!(formatter, ", {times} {point}")?;
        }
        Ok(())
    }
}

fn kill_all(
    site: &Site,
    studies: &[SentStudy],
    kills: u32,
    random: &mut Random,
    killed: &AtomicU32,
) -> Tally {
    let mut tally = Tally::default();
    let moments = studies.iter().flat_map(|study| study.moments).take(kills as usize);
    for (moment, kill) in moments.zip(1..) {
        let died_at = match moment {
            Some(point) => dies_at(site, point, random).then_some(point),
            None => {
                dies_after(site, Duration::from_millis(random.below(LIFE_MAX_MS)));
                None
            }
        };
        match died_at {
            Some(point) => tally.at_point[point as usize] += 1,
            None => tally.at_random += 1,
        }
        killed.store(kill, Ordering::Relaxed);
        if kill % 40 == 0 {
            eprintln!("{kill} of {kills} kills");
        }
    }
    tally
}

/// Starts the service with one point armed; false when it was killed elsewhere.
fn dies_at(site: &Site, point: KillPoint, random: &mut Random) -> bool {
    let passes = if point == KillPoint::Inferring { 1 + random.below(400) } else { 1 };
    let mut process = site.spawn_with(&[(KILL_AT_VARIABLE, &format!("{point}:{passes}"))]);
    let died = dies_within(&mut process, POINT_WITHIN);
    process.kill();
    died
}

fn dies_after(site: &Site, time: Duration) {
    let mut process = site.spawn();
    sleep(time);
    process.kill();
}

fn dies_within(process: &mut Guarded, limit: Duration) -> bool {
    let begun = Instant::now();
    while process.is_running() {
        if begun.elapsed() > limit {
            return false;
        }
        sleep(Duration::from_millis(10));
    }
    true
}

#[track_caller]
fn has_one_result_of_each_kind(service: &Service, orthanc: &Orthanc, study: &SentStudy) {
    let uid = study.uid();
    let in_state = |states: &[&str], path: &str| {
        let rows = items(&service.api, path);
        assert!(rows.iter().all(|row| row["state"] != "dead"), "{rows:?}");
        !rows.is_empty()
            && rows.iter().all(|row| row["state"].as_str().is_some_and(|state| states.contains(&state)))
    };
    wait_until(&format!("the results of study {uid} to arrive"), Duration::from_secs(300), || {
        let done = in_state(&["done", "superseded"], &format!("/v1/jobs?study={uid}"));
        (done && in_state(&["proved"], &format!("/v1/deliveries?study={uid}"))).then_some(())
    });
    let jobs = items(&service.api, &format!("/v1/jobs?study={uid}"));
    let done = jobs.iter().filter(|job| job["state"] == "done").count();
    let count = |modality| instances_of(orthanc, &uid, modality).len();
    let (segmentations, reports, notes) = (count("SEG"), count("SR"), count("KO"));
    if study.is_late() {
        // The first half may have been computed, or not; what was delivered of it is superseded.
        wait_until("the note", Duration::from_secs(60), || (count("KO") + 1 == done).then_some(()));
        assert_eq!((segmentations, reports), (done, done), "late study {uid}: {jobs:?}");
        return;
    }
    assert_eq!((jobs.len(), segmentations, reports, notes), (1, 1, 1, 0), "study {uid}: {jobs:?}");
}

#[track_caller]
fn nothing_is_stuck(api: &Http) {
    for state in ["queued", "leased", "running", "computed", "failed", "dead"] {
        let jobs: Vec<Value> = items(api, &format!("/v1/jobs?state={state}"));
        assert!(jobs.is_empty(), "{state}: {jobs:?}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// SplitMix64: the same moments for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
