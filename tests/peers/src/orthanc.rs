//! A private Orthanc in a temporary folder.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Guarded, Http, free_port, mortal, program, wait_until};

/// What a test may want otherwise than an Orthanc has by default.
#[derive(Debug, Clone, Default)]
pub struct OrthancOptions {
    /// Keys of Orthanc's configuration, laid over ours.
    pub configuration: serde_json::Map<String, Value>,
    /// Variables of its environment, for scripts.
    pub environment: Vec<(String, String)>,
    /// Name and password with which the tests ask it.
    pub credentials: Option<(String, String)>,
}

impl OrthancOptions {
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.configuration.insert(key.to_owned(), value);
        self
    }
}

/// A running Orthanc with the DICOMweb plugin.
#[derive(Debug)]
pub struct Orthanc {
    process: Option<Guarded>,
    http_port: u16,
    dicom_port: u16,
    environment: Vec<(String, String)>,
    credentials: Option<(String, String)>,
    // Last: the folder goes after the program.
    folder: tempfile::TempDir,
}

const AE_TITLE: &str = "ORTHANC";

impl Orthanc {
    /// An empty Orthanc without users.
    ///
    /// # Panics
    /// When Orthanc is missing or does not start.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(OrthancOptions::default())
    }

    /// # Panics
    /// When Orthanc is missing or does not start.
    #[track_caller]
    pub fn start_with(options: OrthancOptions) -> Self {
        let folder =
            tempfile::Builder::new().prefix("overread-orthanc").tempdir().expect("a temporary folder");
        let (http_port, dicom_port) = (free_port(), free_port());
        let mut configuration = json!({
            "Name": "test",
            "StorageDirectory": folder.path().join("db"),
            "IndexDirectory": folder.path().join("db"),
            "Plugins": plugins(),
            "HttpPort": http_port,
            "RemoteAccessAllowed": false,
            "AuthenticationEnabled": false,
            "DicomAet": AE_TITLE,
            "DicomPort": dicom_port,
            "DicomCheckCalledAet": false,
            "DicomAlwaysAllowStore": true,
            "UnknownSopClassAccepted": true,
            "StableAge": 1,
            "OverwriteInstances": true,
            "DicomWeb": { "Enable": true, "Root": "/dicom-web/" },
        });
        let keys = configuration.as_object_mut().expect("the literal above is an object");
        keys.extend(options.configuration);
        std::fs::write(folder.path().join("orthanc.json"), configuration.to_string())
            .expect("a file in a fresh folder");
        let mut orthanc = Self {
            process: None,
            http_port,
            dicom_port,
            environment: options.environment,
            credentials: options.credentials,
            folder,
        };
        orthanc.restart();
        orthanc
    }

    /// Starts it again with what it had, after [`Orthanc::kill`].
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn restart(&mut self) {
        let mut command = mortal(program("Orthanc", &["/usr/sbin", "/usr/local/sbin"], "orthanc"));
        command.arg(self.folder.path().join("orthanc.json")).envs(self.environment.iter().cloned());
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a file in our folder");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut process = Guarded::spawn(command);
        wait_until("Orthanc to answer", Duration::from_secs(60), || {
            assert!(process.is_running(), "Orthanc ended: {}", self.log());
            let connect = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            (connect(self.http_port) && connect(self.dicom_port)).then_some(())
        });
        self.process = Some(process);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Where it keeps the files of its instances.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("db")
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    pub fn dicom_port(&self) -> u16 {
        self.dicom_port
    }

    pub fn ae_title(&self) -> &'static str {
        AE_TITLE
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Its REST API.
    pub fn http(&self) -> Http {
        let http = Http::new(&self.url());
        match &self.credentials {
            Some((username, password)) => http.with_basic(username, password),
            None => http,
        }
    }

    /// GET of its REST API.
    ///
    /// # Panics
    /// When the answer is not success with JSON.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.http().get(path).json()
    }

    /// # Panics
    /// When Orthanc does not answer with success.
    #[track_caller]
    pub fn get_bytes(&self, path: &str) -> Vec<u8> {
        self.http().get(path).bytes()
    }

    /// POST of a JSON body.
    ///
    /// # Panics
    /// When the answer is not success with JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.http().post(path, body).json()
    }

    /// Stores one DICOM file over REST.
    ///
    /// # Panics
    /// When Orthanc refuses it.
    #[track_caller]
    pub fn store(&self, file: &Path) -> Value {
        let body =
            std::fs::read(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        self.http().post_bytes("/instances", "application/dicom", body).json()
    }
}

fn plugins() -> Vec<PathBuf> {
    let folders = [
        "/usr/share/orthanc/plugins",
        "/usr/lib/orthanc/plugins",
        "/usr/lib/x86_64-linux-gnu/orthanc/plugins",
    ];
    let found = folders
        .iter()
        .map(|folder| Path::new(folder).join("libOrthancDicomWeb.so"))
        .find(|file| file.exists());
    vec![found.unwrap_or_else(|| panic!("Orthanc's DICOMweb plugin is not installed: run `make peers`, or apt-get install orthanc-dicomweb"))]
}
