//! How a DICOM peer is named on the command line.

use std::path::PathBuf;

use clap::Args;
use scp::{ClientOptions, TlsOptions};

use crate::{config::Config, service::settings::ae_title};

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// The peer's HOST:PORT.
    address: String,
    /// The peer's AE title.
    #[arg(long, value_name = "AE", default_value = "OVERREAD")]
    called: String,
    /// Our AE title [default: dicom.ae_title of the configuration].
    #[arg(long, value_name = "AE")]
    calling: Option<String>,
    /// Speaks TLS, and believes the authorities in this PEM file.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Our certificate for TLS, PEM.
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// The key of our certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl PeerArgs {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn options(&self, config: &Config) -> anyhow::Result<ClientOptions> {
        let calling = self.calling.as_deref().unwrap_or(&config.dicom.ae_title);
        let mut options = ClientOptions::new(&self.address, ae_title(&self.called)?, ae_title(calling)?);
        options.tls = self.tls_ca.as_ref().map(|ca| TlsOptions {
            ca: ca.clone(),
            identity: self.tls_cert.clone().zip(self.tls_key.clone()),
            server_name: None,
        });
        Ok(options)
    }
}
