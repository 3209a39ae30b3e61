//! Child processes that end with their owner, ports, and waiting for something to become true.

use std::{
    ffi::OsStr,
    io::Read,
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

/// The ports that are given away: below those that the system takes for outgoing connections, which would take
/// one away again before whoever got it listens.
const PORTS: std::ops::Range<u16> = 18_000..32_000;

/// A port that was free a moment ago, and that this process gives away for the first time in a long while.
///
/// # Panics
/// When the machine has no free port on loopback.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    for _ in 0..count {
        // Each process begins elsewhere.
        let number = std::process::id().wrapping_mul(613).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(number % count).expect("less than the number of ports");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("loopback has no free port between {} and {}", PORTS.start, PORTS.end);
}

/// Asks `probe` until it gives something, at most for `limit`.
///
/// # Panics
/// With `what` when the time is over.
#[track_caller]
pub fn wait_until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(begin.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// A command whose process dies with ours, however ours ends: a cluster kept in a static
/// would outlive a test that is killed.
pub fn mortal(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

type Request = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The kernel ends a mortal child with the *thread* that started it, and the threads of tests
/// are short-lived: one thread that never ends starts all of them.
static STARTER: LazyLock<mpsc::Sender<Request>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<Request>();
    std::thread::spawn(move || {
        for (mut command, answer) in receiver {
            answer.send(command.spawn()).ok();
        }
    });
    sender
});

/// A child that is killed when this value goes.
#[derive(Debug)]
pub struct Guarded(pub Child);

impl Guarded {
    /// Starts `command`, best made by [`mortal`].
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn(command: Command) -> Self {
        let what = format!("{command:?}");
        let (sender, receiver) = mpsc::channel();
        STARTER.send((command, sender)).expect("the starter never ends");
        let child = receiver.recv().expect("the starter always answers");
        Self(child.unwrap_or_else(|error| panic!("cannot start {what}: {error}")))
    }

    /// Runs `command` to its end without a standard input: what [`Command::output`] does, but a
    /// command that does not end fails the test instead of holding it for ever.
    ///
    /// # Panics
    /// When it cannot be started, or runs longer than `limit`.
    #[track_caller]
    pub fn output(mut command: Command, limit: Duration) -> Output {
        let what = format!("{command:?} to end");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Self::spawn(command);
        let stdout = read_all(child.0.stdout.take());
        let stderr = read_all(child.0.stderr.take());
        let status = wait_until(&what, limit, || child.0.try_wait().ok().flatten());
        let text = |reader: std::thread::JoinHandle<Vec<u8>>| reader.join().expect("a reader never panics");
        Output { status, stdout: text(stdout), stderr: text(stderr) }
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        // Both fail only when the child is already gone, which is what is wanted.
        self.0.kill().ok();
        self.0.wait().ok();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let status = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot signal process {}", self.0.id());
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

/// Reads a pipe on a thread of its own, so that a child never waits for us.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is what a person needs to see.
            pipe.read_to_end(&mut bytes).ok();
        }
        bytes
    })
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}
