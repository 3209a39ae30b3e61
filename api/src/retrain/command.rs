//! The command of a package, held within limits: time, processor time and memory, an environment that holds
//! nothing of ours, no shell, and no process of it left when it is over.
//!
//! `prlimit` of util-linux sets the limits before the program begins, so that there is no moment without them.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use inference::package::Retrain;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// Where util-linux has it; not looked for elsewhere, as a folder of the configuration could hold another one.
const PRLIMIT: [&str; 2] = ["/usr/bin/prlimit", "/bin/prlimit"];
/// No file of a run may be longer.
const FILE_BYTES_MAX: u64 = 8 << 30;
/// Of what the command printed, so much is kept.
const TAIL_BYTES: u64 = 4096;
/// Which process runs, for whoever starts after a crash.
const CHILD: &str = "child";
const OUTPUT: &str = "output.log";

/// A run that is to begin in an empty folder.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) words: Vec<String>,
    pub(super) limits: &'a Retrain,
    pub(super) path: &'a [PathBuf],
    /// Of the run; cases and the new version lie in it.
    pub(super) folder: &'a Path,
}

/// How it ended, and the end of what it printed.
#[derive(Debug)]
pub(super) struct Ended {
    /// None: it did what it was asked.
    pub(super) failure: Option<String>,
    pub(super) output: String,
}

/// Runs the command to its end, or to the end of its time.
pub(super) async fn run(order: &Order<'_>) -> io::Result<Ended> {
    let mut child = command(order)?.spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).map(Group);
    if let Some(group) = &group {
        fs::write(order.folder.join(CHILD), Process::of(group.0).unwrap_or_default())?;
    }
    let ended = tokio::time::timeout(order.limits.timeout, child.wait()).await;
    // Whatever it left behind ends here, too.
    drop(group);
    let failure = match ended {
        Ok(status) => {
            let status = status?;
            (!status.success()).then(|| format!("the command ended with {status}"))
        }
        Err(_) => {
            child.wait().await?;
            Some(format!("the command took longer than {} s", order.limits.timeout.as_secs()))
        }
    };
    Ok(Ended { failure, output: tail(&order.folder.join(OUTPUT))? })
}

fn command(order: &Order<'_>) -> io::Result<Command> {
    let prlimit = PRLIMIT.iter().find(|path| Path::new(path).is_file());
    let prlimit =
        prlimit.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "prlimit (util-linux) is missing"))?;
    let (home, temporary) = (order.folder.join("home"), order.folder.join("tmp"));
    fs::create_dir_all(&home)?;
    fs::create_dir_all(&temporary)?;
    let output = File::create(order.folder.join(OUTPUT))?;
    let mut command = Command::new(prlimit);
    command
        .arg(format!("--as={}", order.limits.memory_bytes))
        .arg(format!("--cpu={}", order.limits.cpu_seconds))
        .arg(format!("--fsize={FILE_BYTES_MAX}"))
        .args(["--core=0", "--"])
        .args(&order.words)
        .env_clear()
        .env("PATH", joined(order.path)?)
        .env("HOME", home)
        .env("TMPDIR", temporary)
        .env("LANG", "C.UTF-8")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(order.folder)
        .stdin(Stdio::null())
        .stderr(output.try_clone()?)
        .stdout(output)
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

fn joined(path: &[PathBuf]) -> io::Result<OsString> {
    std::env::join_paths(path).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// The command and everything that it started; killed when this goes.
#[derive(Debug)]
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // It fails only when nobody of the group is left, which is what is wanted.
        kill_process_group(self.0, Signal::KILL).ok();
    }
}

/// Ends what a process of ours that was killed left running in `folder`.
pub(super) fn end_orphan(folder: &Path) {
    let Ok(known) = fs::read_to_string(folder.join(CHILD)) else { return };
    let number = known.split(' ').next().and_then(|number| number.parse().ok());
    let Some(pid) = number.and_then(Pid::from_raw) else { return };
    // The same number is another process after a while: when it began tells.
    if Process::of(pid).is_some_and(|found| found == known) {
        drop(Group(pid));
        // A folder that is written to cannot be deleted.
        for _ in 0..50 {
            if Process::of(pid).is_none() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A process as nobody else can be: number, moment of its beginning, run of the machine.
struct Process;

impl Process {
    fn of(pid: Pid) -> Option<String> {
        let number = pid.as_raw_nonzero();
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        // proc(5): the name in brackets may hold anything; the 20th word behind it is starttime.
        let began = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(format!("{number} {began} {}", boot.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(timeout: Duration, memory_bytes: u64) -> Retrain {
        Retrain { command: Vec::new(), timeout, cpu_seconds: 2, memory_bytes, cases_min: 1 }
    }

    async fn ended(words: &[&str], limits: &Retrain) -> Ended {
        let folder = tempfile::tempdir().unwrap();
        let path = [PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        run(&Order { words, limits, path: &path, folder: folder.path() }).await.unwrap()
    }

    const ROOMY: u64 = 1 << 30;

    #[tokio::test]
    async fn a_command_sees_no_variable_of_ours_and_no_shell_reads_its_words() {
        let limits = limits(Duration::from_secs(60), ROOMY);
        let env = ended(&["env"], &limits).await;
        assert_eq!(env.failure, None);
        let names: Vec<&str> = env.output.lines().filter_map(|line| line.split('=').next()).collect();
        assert_eq!(names.len(), 5, "{names:?}");
        assert!(
            names
                .iter()
                .all(|name| ["PATH", "HOME", "TMPDIR", "LANG", "PYTHONDONTWRITEBYTECODE"].contains(name))
        );
        assert_eq!(ended(&["echo", "$(id); `id` > /tmp/x"], &limits).await.output, "$(id); `id` > /tmp/x");
    }

    #[tokio::test]
    async fn time_processor_and_memory_are_limited_and_a_failure_is_named() {
        let long = Duration::from_secs(60);
        let slow = ended(&["sleep", "600"], &limits(Duration::from_millis(200), ROOMY)).await;
        assert_eq!(slow.failure.as_deref(), Some("the command took longer than 0 s"));
        let busy = ended(&["sha256sum", "/dev/zero"], &limits(long, ROOMY)).await;
        assert!(busy.failure.is_some_and(|failure| failure.contains("signal")));
        let greedy = ended(&["head", "--bytes=-900M", "/dev/zero"], &limits(long, 64 << 20)).await;
        assert!(greedy.failure.is_some(), "{}", greedy.output);
        let failing = ended(&["ls", "/no/such/folder"], &limits(long, ROOMY)).await;
        assert_eq!(failing.failure.as_deref(), Some("the command ended with exit status: 2"));
        assert!(failing.output.contains("/no/such/folder"));
    }

    #[tokio::test]
    async fn what_a_killed_process_left_running_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep");
        use std::os::unix::process::CommandExt;
        let mut child = child.arg("600").process_group(0).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let known = Process::of(pid).unwrap();
        // Another process that has the number now is let be.
        fs::write(folder.path().join(CHILD), known.replacen(' ', " 9", 1)).unwrap();
        end_orphan(folder.path());
        assert_eq!(child.try_wait().unwrap(), None);
        fs::write(folder.path().join(CHILD), known).unwrap();
        let reaping = std::thread::spawn(move || child.wait().unwrap());
        end_orphan(folder.path());
        assert!(!reaping.join().unwrap().success());
    }
}
