//! A private Orthanc for the demonstration: a real PACS that results are written back into.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::json;

/// A running Orthanc; it ends with this value.
#[derive(Debug)]
pub(super) struct Orthanc {
    process: Child,
    http_port: u16,
    dicom_port: u16,
}

pub(super) const AE_TITLE: &str = "ORTHANC";
const START_LIMIT: Duration = Duration::from_secs(30);
/// Debian's package puts the program where a user's PATH does not look.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

impl Orthanc {
    /// Starts Orthanc with its data in `dir`.
    ///
    /// # Errors
    /// When it is not installed, with what to do; when it does not come up, with where its log is.
    pub(super) fn start(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))?;
        let (http_port, dicom_port) = (free_port(8042)?, free_port(4242)?);
        let configuration = dir.join("orthanc.json");
        std::fs::write(&configuration, configuration_text(&dir, http_port, dicom_port))
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        let log_path = dir.join("orthanc.log");
        let log = std::fs::File::create(&log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))?;
        let mut orthanc = Self { process: spawn(&configuration, log)?, http_port, dicom_port };
        orthanc.wait(&log_path)?;
        Ok(orthanc)
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    pub(super) fn dicom_port(&self) -> u16 {
        self.dicom_port
    }

    fn wait(&mut self, log: &Path) -> anyhow::Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < START_LIMIT {
            if let Some(status) = self.process.try_wait().context("cannot watch Orthanc")? {
                bail!("Orthanc ended while starting ({status}); its log is {}", log.display());
            }
            let answers = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            if answers(self.http_port) && answers(self.dicom_port) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("Orthanc did not answer within {} s; its log is {}", START_LIMIT.as_secs(), log.display())
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Where Debian puts it, else wherever the system finds it.
fn program() -> PathBuf {
    let installed =
        FOLDERS.iter().map(|folder| Path::new(folder).join("Orthanc")).find(|file| file.is_file());
    installed.unwrap_or_else(|| PathBuf::from("Orthanc"))
}

fn spawn(configuration: &Path, log: std::fs::File) -> anyhow::Result<Child> {
    let mut command = Command::new(program());
    command.arg(configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    match command.spawn() {
        Ok(child) => Ok(child),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("Orthanc is not installed; on Debian and Ubuntu: apt-get install orthanc orthanc-dicomweb")
        }
        Err(error) => Err(error).context("cannot start Orthanc"),
    }
}

/// `wanted` when nobody has it, else any other.
fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", wanted)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    let address = listener.and_then(|listener| listener.local_addr()).context("no free port on loopback")?;
    Ok(address.port())
}

fn configuration_text(dir: &Path, http_port: u16, dicom_port: u16) -> String {
    let plugin = Path::new("/usr/share/orthanc/plugins/libOrthancDicomWeb.so");
    let plugins: Vec<&Path> = plugin.exists().then_some(plugin).into_iter().collect();
    json!({
        "Name": "Overread demonstration",
        "StorageDirectory": dir.join("db"),
        "IndexDirectory": dir.join("db"),
        "Plugins": plugins,
        "HttpPort": http_port,
        "RemoteAccessAllowed": false,
        "AuthenticationEnabled": false,
        "DicomAet": AE_TITLE,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": false,
        "DicomAlwaysAllowStore": true,
        "UnknownSopClassAccepted": true,
        "OverwriteInstances": true,
        "DicomWeb": { "Enable": true, "Root": "/dicom-web/" },
    })
    .to_string()
}
