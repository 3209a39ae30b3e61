//! The command line: what can be asked for, with examples. Each command has a file of its own.

mod accounts;
mod audit;
mod doctor;
mod echo;
mod model;
mod peer;
mod preview;
mod recover;
mod route;
mod run;
mod seg;
mod send;
mod show;
mod skeleton;
pub(crate) mod terminal;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    config::{self, Config, ConfigFile, Overrides},
    exit::Failure,
};

const EXAMPLES: &str = "\
Examples:
  overread demo                               see it work in a minute, nothing to set up
  overread serve                              run the service with ./overread.toml, or the defaults
  overread serve --set dicom.listen=127.0.0.1:104
  overread doctor                             what is wrong, and what to do about it
  overread run --model mr-brain-seg --in study/ --out findings/

Exit codes: 0 done, 1 failed, 2 wrong command line, 64 configuration refused.";

/// A machine's second reading beside the PACS: takes studies in, runs models on them, writes
/// findings back as DICOM. Not a medical device.
#[derive(Debug, Parser)]
#[command(name = "overread", version, after_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Args)]
struct Settings {
    /// Configuration file [default: ./overread.toml when there is one].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, over file and environment; may be given several times.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the service until SIGTERM or Ctrl-C.
    Serve,
    /// Starts a service with nothing set up, sends it a synthetic study and shows the findings.
    Demo(crate::demo::DemoArgs),
    /// Runs one model on a folder of DICOM files; needs no server and no database.
    Run(run::RunArgs),
    /// Writes a DICOM segmentation from a ready label map.
    Seg(seg::SegArgs),
    /// Sends DICOM files by C-STORE.
    Send(send::SendArgs),
    /// Asks a DICOM node whether it answers (C-ECHO).
    Echo(echo::EchoArgs),
    /// Lists and checks model packages.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Says which model would be run on what, and for everything else why not.
    Route(route::RouteArgs),
    /// Prints the configuration in force, secrets hidden.
    Config(show::ConfigArgs),
    /// Checks database, spool, ONNX Runtime, models, destinations, disk and clock.
    Doctor(doctor::DoctorArgs),
    /// Rebuilds the database's rows of instances from the spool.
    Recover(recover::RecoverArgs),
    /// Adds, lists and locks accounts of people.
    #[command(subcommand)]
    User(accounts::UserCommand),
    /// Makes, lists and revokes API keys of programs.
    #[command(subcommand)]
    Key(accounts::KeyCommand),
    /// Checks, lists and exports the audit trail.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Prints the version of the program and of what it was built with.
    Version(show::VersionArgs),
}

/// How a command prints what a script might want to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct JsonFlag {
    /// Prints JSON for scripts.
    #[arg(long)]
    json: bool,
}

impl JsonFlag {
    pub(crate) fn output(self) -> Output {
        if self.json { Output::Json } else { Output::Text }
    }
}

impl Settings {
    fn overrides(&self) -> Overrides {
        let file = self.config.clone().map_or(ConfigFile::InWorkingFolder, ConfigFile::Named);
        Overrides { file, set: self.set.clone() }
    }

    fn load(&self) -> Result<Config, Failure> {
        config::load(&self.overrides()).map_err(Failure::configuration)
    }
}

impl Cli {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let settings = self.settings;
        match self.command {
            Command::Serve => crate::serve::run(settings.load()?),
            Command::Demo(args) => crate::demo::run(args, settings.overrides()),
            Command::Run(args) => run::run(args, &settings.load()?),
            Command::Seg(args) => seg::run(args),
            Command::Send(args) => send::run(args, &settings.load()?),
            Command::Echo(args) => echo::run(args, &settings.load()?),
            Command::Model(command) => model::run(command, &settings.load()?),
            Command::Route(args) => route::run(args, &settings.load()?),
            Command::Config(args) => show::config(args, &settings.load()?),
            Command::Doctor(args) => doctor::run(args, &settings.load()?),
            Command::Recover(args) => recover::run(args, &settings.load()?),
            Command::User(command) => accounts::user(command, &settings.load()?),
            Command::Key(command) => accounts::key(command, &settings.load()?),
            Command::Audit(command) => audit::run(command, &settings.load()?),
            Command::Version(args) => show::version(args),
        }
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        Some(_) | None => Err("expected KEY=VALUE, such as dicom.listen=127.0.0.1:104".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn settings_are_keys_and_values() {
        assert_eq!(key_and_value("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(key_and_value("a.b").is_err());
        assert!(key_and_value("=x").is_err());
    }
}
