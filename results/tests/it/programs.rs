//! Other implementations that read what is written here: dicom3tools, DCMTK, highdicom, dcmqi.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// `dciodvfy -new` must find no error in a file.
#[track_caller]
pub(crate) fn dciodvfy(path: &Path) {
    let lines = dciodvfy_lines(path);
    let errors: Vec<&String> = lines.iter().filter(|line| line.starts_with("Error")).collect();
    assert!(errors.is_empty(), "dciodvfy {}: {lines:#?}", path.display());
}

pub(crate) fn dciodvfy_lines(path: &Path) -> Vec<String> {
    let output = run(Command::new(peers::program("dciodvfy", &[], "dicom3tools")).arg("-new").arg(path));
    lines(&output.stderr).chain(lines(&output.stdout)).collect()
}

/// What `dcentvfy` says about the entities of several files.
pub(crate) fn dcentvfy(paths: &[PathBuf]) -> Vec<String> {
    let output = run(Command::new(peers::program("dcentvfy", &[], "dicom3tools")).args(paths));
    lines(&output.stderr).chain(lines(&output.stdout)).collect()
}

/// The tree of a structured report.
#[track_caller]
pub(crate) fn dsrdump(path: &Path) -> String {
    let output = run(Command::new(peers::dcmtk("dsrdump")).args(["+U8", "+Pl", "+Pc", "+Pt"]).arg(path));
    assert!(output.status.success(), "dsrdump: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("dsrdump writes UTF-8")
}

/// Sends files by C-STORE.
#[track_caller]
pub(crate) fn send(orthanc: &peers::Orthanc, files: &[PathBuf]) {
    let mut command = Command::new(peers::dcmtk("dcmsend"));
    command.args(["-aec", orthanc.ae_title(), "127.0.0.1", &orthanc.dicom_port().to_string()]).args(files);
    let output = run(&mut command);
    assert!(output.status.success(), "dcmsend: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a script of this folder; what it prints, when it ends well.
#[track_caller]
pub(crate) fn python(script: &str, arguments: &[&Path]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scripts").join(script);
    let output = run(Command::new(peers::python()).arg(path).args(arguments));
    assert!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("scripts print UTF-8")
}

/// A command of a Python package, for example dcmqi's.
#[track_caller]
pub(crate) fn python_command(name: &str, arguments: &[&str]) -> Output {
    let python = peers::python();
    let folder = python.parent().expect("an interpreter lies in a folder");
    let output = run(Command::new(folder.join(name)).args(arguments));
    assert!(
        output.status.success(),
        "{name}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", command.get_program().to_string_lossy()))
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}
