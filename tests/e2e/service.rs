//! The binary, started as a user would, in a folder and on ports of its own.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use peers::{Guarded, Http, free_port, mortal, wait_until};

/// Far more than any command needs, even on a busy machine.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(180);

/// A folder with an `overread.toml`, in which the binary runs.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    http_port: u16,
    dicom_port: u16,
    /// What was made here and may stand in no log.
    secrets: std::sync::Mutex<Vec<String>>,
}

/// A service that serves.
pub(crate) struct Service {
    pub(crate) process: Guarded,
    pub(crate) api: Http,
}

impl Site {
    /// A site whose configuration is ports and shipped models, then `more`.
    pub(crate) fn new(more: &str) -> Self {
        Self::with_models(&peers::workspace().join("models"), more)
    }

    /// The same with the model packages of a folder.
    pub(crate) fn with_models(models: &Path, more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("overread-site").tempdir().expect("a temporary folder");
        let (http_port, dicom_port) = (free_port(), free_port());
        let secrets = std::sync::Mutex::default();
        let site = Self { folder, http_port, dicom_port, secrets };
        site.configure(&format!(
            "[http]\nlisten = \"127.0.0.1:{http_port}\"\n\
             [dicom]\nlisten = \"127.0.0.1:{dicom_port}\"\n\
             [models]\ndir = {models:?}\nallow_demonstration = [\"mr-brain-seg\"]\n\
             [readiness]\nquiet_seconds = 1\ndoubtful_seconds = 2\n\
             [limits]\nrequests_per_minute = 100000\n\
             [runtime]\nonnxruntime = {:?}\n{more}",
            peers::onnxruntime(),
        ));
        site
    }

    /// A site with these of the shipped models in service, and limits that no test meets.
    pub(crate) fn unlimited(models: &[&str]) -> Self {
        let site = Self::new("");
        let own = site.path().join("models");
        std::fs::create_dir(&own).expect("a folder in our folder");
        for model in models {
            let package = peers::workspace().join("models").join(model);
            std::os::unix::fs::symlink(package, own.join(model)).expect("a link in our folder");
        }
        let limit = "requests_per_minute = 100000";
        let limits =
            ["predicts", "schemas", "reloads"].map(|name| format!("{name}_per_minute = 100000\n")).concat();
        let text = std::fs::read_to_string(site.path().join("overread.toml")).expect("its configuration");
        let text = text
            .replace(&format!("{:?}", peers::workspace().join("models")), &format!("{own:?}"))
            .replace("[\"mr-brain-seg\"]", &format!("{models:?}"))
            .replace(limit, &format!("{limits}{limit}"));
        site.configure(&text);
        site
    }

    /// Writes another `overread.toml`.
    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.folder.path().join("overread.toml"), text).expect("a file in our folder");
    }

    /// Adds tables to its `overread.toml`.
    pub(crate) fn also(&self, more: &str) {
        let file = self.folder.path().join("overread.toml");
        let text = std::fs::read_to_string(&file).expect("a file in our folder");
        std::fs::write(file, format!("{text}\n{more}")).expect("a file in our folder");
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn dicom_port(&self) -> u16 {
        self.dicom_port
    }

    pub(crate) fn http_port(&self) -> u16 {
        self.http_port
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// A command of the binary, run to its end in this site's folder.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = mortal(env!("CARGO_BIN_EXE_overread"));
        command.args(args).current_dir(self.path());
        Guarded::output(command, COMMAND_LIMIT)
    }

    /// Starts `overread serve` without waiting for anything.
    pub(crate) fn spawn(&self) -> Guarded {
        self.spawn_with(&[])
    }

    /// The same, with variables of its environment.
    pub(crate) fn spawn_with(&self, environment: &[(&str, &str)]) -> Guarded {
        let mut command = mortal(env!("CARGO_BIN_EXE_overread"));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("a file in our folder");
        command
            .arg("serve")
            // Tests share one disk, and none sends that much.
            .env("OVERREAD__SPOOL__JOURNAL_BYTES", "64MiB")
            .envs(environment.iter().copied())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        Guarded::spawn(command)
    }

    /// Starts `overread serve`, waits until it is ready and signs a client in.
    pub(crate) fn serve(&self) -> Service {
        let mut process = self.spawn();
        let api = Http::new(&format!("http://127.0.0.1:{}", self.http_port));
        wait_until("the service to be ready", Duration::from_secs(60), || {
            assert!(process.is_running(), "the service ended:\n{}", self.log());
            api.try_get("/ready").ok().filter(|answer| answer.status == 200)
        });
        let key = self.key("e2e", "admin");
        Service { process, api: api.with_bearer(&key) }
    }

    /// When the site goes its log is searched for this.
    pub(crate) fn keep_out_of_logs(&self, secret: &str) {
        self.secrets.lock().expect("no test panics in here").push(secret.to_owned());
    }

    /// An API key, made as an administrator makes one.
    pub(crate) fn key(&self, name: &str, role: &str) -> String {
        let output = self.run(&["key", "create", "--name", name, "--role", role]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("the key is text");
        let key = text.lines().last().expect("the key is on the last line").to_owned();
        self.keep_out_of_logs(&key);
        key
    }
}

impl Drop for Site {
    /// No log of the whole test run holds a token, a password, a key or the name of a patient.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let log = self.log();
        let secrets = self.secrets.get_mut().map(std::mem::take).unwrap_or_default();
        // How a JWT begins, and how the patients of synthetic studies are named and numbered.
        let others = ["eyJ", "데모^팬텀", "DEMO-0"].map(str::to_owned);
        for secret in secrets.iter().chain(&others) {
            let line = log.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret:?} stands in the log: {line:?}");
        }
    }
}

/// What a refused start said: its exit code and the whole of standard error.
pub(crate) fn refusal(output: &Output) -> (i32, String) {
    let code = output.status.code().expect("it ended by itself");
    (code, String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
}
