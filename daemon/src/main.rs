//! The `restreamer` command: reads the command line and the configuration, starts the log, hands over to the server.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use restreamer::args::{Args, CONFIG_DEFAULT};
use restreamer::check::{self, Check};
use restreamer::config::{Config, ConfigError, LogTarget, Report};
use restreamer::descriptors::DescriptorLimit;
use restreamer::log::Log;
use restreamer::serve::serve;
use restreamer::{signals, surroundings};
use restreamer_io::engine::{Door, Place};

/// How long the last log lines may take on their way out.
const LAST_LINES: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the command line asks for; an error is what to tell the operator.
fn run(args: &Args) -> Result<(), String> {
    if let Some(shell) = args.completions {
        return print(&Args::completions(shell));
    }
    if args.man {
        return print(&Args::manual().map_err(|error| format!("restreamer: {error}"))?);
    }
    let Loaded { name, config, mut report } = load(args)?;
    let found = surroundings::look(&config);
    if !found.errors.is_empty() {
        let error = ConfigError::Invalid { file: name, report: found };
        return Err(explain(&error));
    }
    report.warnings.extend(found.warnings);
    if args.check {
        let limit = DescriptorLimit::current().map_err(|error| format!("restreamer: {error}"))?;
        let check = Check { name: &name, config: &config, report: &report, limit };
        return print(check.to_string().as_bytes());
    }
    start(config, &report, args.demo)
}

/// A configuration, under the name by which messages call it.
struct Loaded {
    name: String,
    config: Config,
    report: Report,
}

fn load(args: &Args) -> Result<Loaded, String> {
    let mut loaded = if args.demo {
        Loaded { name: "demo".to_owned(), config: Config::demo(), report: Report::default() }
    } else {
        let file = args.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG_DEFAULT));
        let (config, report) = Config::load(&file).map_err(|error| match error {
            ConfigError::Missing { .. } if args.config.is_none() => nothing_to_do(),
            error => explain(&error),
        })?;
        Loaded { name: file.display().to_string(), config, report }
    };
    if !args.listen.is_empty() {
        loaded.config.listen_at(args.listen.iter().cloned());
    }
    Ok(loaded)
}

/// Log, signals and limits, and then the server.
fn start(config: Config, report: &Report, is_demo: bool) -> Result<(), String> {
    let log = Log::open(&config.log).map_err(|error| match &config.log {
        LogTarget::Stdout => format!("restreamer: standard output: {error}"),
        LogTarget::File(path) => format!("restreamer: log {}: {error}", path.display()),
    })?;
    log.install().map_err(|error| format!("restreamer: {error}"))?;
    let shutdown =
        signals::handle(log.handle()).map_err(|error| format!("restreamer: handling signals: {error}"))?;
    for warning in &report.warnings {
        tracing::warn!(module = "main", event = "configuration", problem = %warning, "configuration warning");
    }
    raise_descriptor_limit(&config);
    let served = serve(&config, &log.handle(), shutdown, |doors| {
        if is_demo {
            greet(doors);
        }
        announce(doors);
    });
    log.handle().flush(LAST_LINES);
    served.map_err(|error| format!("restreamer: {error}"))
}

fn announce(doors: &[Door]) {
    for door in doors {
        let address = door.place.to_string();
        let tls = door.identity.is_some();
        tracing::info!(module = "main", event = "listening", address, tls, "listening");
    }
}

/// What a person who tries the program wants to know, on standard error, beside the log.
fn greet(doors: &[Door]) {
    let Some(Place::Tcp(address)) = doors.first().map(|door| &door.place) else { return };
    let host = match address.ip() {
        ip if ip.is_unspecified() || ip.is_loopback() => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    };
    let elsewhere = match address.ip().is_loopback() {
        true => format!("Only this machine can watch; --listen :{} lets others in, too. ", address.port()),
        false => String::new(),
    };
    let text = format!(
        "\nA test picture with sound plays at   http://{host}/demo.ts\n\n    \
         vlc http://{host}/demo.ts\n    \
         ffplay http://{host}/demo.ts\n\n\
         Health is at http://{host}/health, metrics at http://{host}/metrics. {elsewhere}Ctrl-C ends it.\n\n"
    );
    // In one piece: the log goes to the same terminal. Who has closed standard error does not want to read it.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn raise_descriptor_limit(config: &Config) {
    let limit = match DescriptorLimit::raise() {
        Ok(limit) => limit.soft,
        Err(error) => {
            tracing::warn!(module = "main", event = "descriptors", %error, "the limit could not be raised");
            return;
        }
    };
    if let Some(problem) = check::descriptor_warning(config, limit) {
        tracing::warn!(module = "main", event = "descriptors", limit, problem, "too few file descriptors");
    }
}

/// An error of the configuration in full, with the warnings that may explain it.
fn explain(error: &ConfigError) -> String {
    let ConfigError::Invalid { file, report } = error else { return error.to_string() };
    let warnings =
        report.warnings.iter().map(|warning| format!("{file}: warning: {warning}\n")).collect::<String>();
    let errors = match report.errors.len() {
        1 => "1 error".to_owned(),
        errors => format!("{errors} errors"),
    };
    format!("{warnings}{error}\n{file}: {errors}")
}

fn nothing_to_do() -> String {
    let place = std::env::current_dir().unwrap_or_default();
    format!(
        "restreamer: there is no {CONFIG_DEFAULT} in {}\n\
         \n\
         restreamer --demo         plays a built-in test stream, without a configuration\n\
         restreamer /path/to/file  reads a configuration from elsewhere\n\
         restreamer --help         says more",
        place.display()
    )
}

/// Writes to standard output; a reader that has seen enough is no error.
fn print(text: &[u8]) -> Result<(), String> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("restreamer: {error}")),
        _ => Ok(()),
    }
}
