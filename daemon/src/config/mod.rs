//! The configuration: `restreamer.json` in, typed values out.
//!
//! Files of existing deployments were read by a forgiving reader, and so is everything here: keys match in any
//! case, of a repeated key the last one counts, the empty key is a comment, `null` means the default, text after
//! the first value is ignored. What is *wrong*, though, is never skipped: every error is collected with the path
//! of its key, and a file with errors is not used at all. After this module no string is looked at again.
//!
//! Nothing here opens a socket or looks at a file other than the configuration (and `/etc/services` for a port
//! that is a name), so that the simulator reads a configuration just as the daemon does.
//!
//! Start at [`Config::load`]; the keys of the top are read in [`Config::parse`], those of a resource in
//! `resource.rs` and `stream.rs`.

mod access;
mod json;
mod listen;
mod notification;
mod reader;
mod report;
mod resource;
mod secret;
mod stream;
mod target;
mod tuning;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use access::{Authentication, User};
pub use listen::{Candidates, ListenAddress, ListenError, ListenHost, Listener, Tls};
pub use report::{Problem, Report};
pub use resource::{ApiResource, Endpoint, StaticResource};
pub use secret::Secret;
pub use stream::StreamResource;
pub use target::Document;
pub use tuning::Tuning;

use restreamer_io::api::Api;
use restreamer_io::client::{ClientOptions, Proxies};
use restreamer_io::notify::{Event, Notification};

use json::Value;
use reader::{Field, Section};
use resource::{Defaults, RESOURCE_KEYS, Resources};
use tuning::unless_zero;

/// Everything that a configuration says, with the defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; never empty.
    pub listeners: Vec<Listener>,
    /// Worker threads.
    pub threads: NonZeroUsize,
    /// Where log lines go.
    pub log: LogTarget,
    /// Where profiles are served; `None`: nowhere.
    pub profile: Option<ListenAddress>,
    /// Viewers of all streams together that are let in; 0: no limit.
    pub connections_max: u32,
    /// Viewers from which on the service calls itself full; 0: never.
    pub connections_full: u32,
    /// Between two heartbeat notifications; `None`: there are none.
    pub heartbeat: Option<Duration>,
    /// How documents are fetched and notifications are sent.
    pub client: ClientOptions,
    /// The streams.
    pub streams: Vec<StreamResource>,
    /// The static resources.
    pub statics: Vec<StaticResource>,
    /// The API answers.
    pub apis: Vec<ApiResource>,
    /// The notifications.
    pub notifications: Vec<Notification>,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// To standard output.
    Stdout,
    /// To the end of this file.
    File(PathBuf),
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// There is no such file.
    Missing {
        /// Its path.
        file: PathBuf,
    },
    /// The file cannot be read.
    Unreadable {
        /// Its path.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is not JSON.
    Syntax {
        /// Its name.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// The file is JSON, and something in it is wrong; all of that is in the report, which has an error at least.
    Invalid {
        /// Its name.
        file: String,
        /// Every finding.
        report: Report,
    },
}

/// The keys of the top, beside those of [`Tuning`].
const TOP_KEYS: [&str; 17] = [
    "listen",
    "tls",
    "timeout",
    "reconnect",
    "readtimeout",
    "nostats",
    "profile",
    "inputbuffer",
    "outputbuffer",
    "maxconnections",
    "fullconnections",
    "heartbeatinterval",
    "log",
    "userlist",
    "threads",
    "resources",
    "notifications",
];
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(60);
const PROFILE_PORT: u16 = 6060;
const DEMO_PORT: u16 = 8000;
/// More runtimes than any machine has cores would only divide the viewers further.
const THREADS_MAX: u32 = 1024;

impl Config {
    /// Reads a file, and the proxies towards HTTP servers from the environment. The report holds warnings and notes,
    /// no errors.
    pub fn load(file: &Path) -> Result<(Config, Report), ConfigError> {
        let bytes = std::fs::read(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ConfigError::Missing { file: file.to_owned() },
            _ => ConfigError::Unreadable { file: file.to_owned(), error },
        })?;
        Config::parse_with(&file.display().to_string(), &bytes, Proxies::from_environment())
    }

    /// Reads the content of a file whose name, for messages, is `file`.
    ///
    /// No HTTP proxies are used. Bytes that are not UTF-8 (a comment in another encoding) are replaced, with a warning.
    pub fn parse(file: &str, content: &[u8]) -> Result<(Config, Report), ConfigError> {
        Config::parse_with(file, content, Proxies::default())
    }

    fn parse_with(file: &str, content: &[u8], proxies: Proxies) -> Result<(Config, Report), ConfigError> {
        let text = String::from_utf8_lossy(content);
        let text = text.trim_start_matches('\u{feff}');
        let document = json::parse(text).map_err(|error| ConfigError::Syntax {
            file: file.to_owned(),
            line: error.line,
            column: error.column,
            what: error.what,
        })?;
        let report = RefCell::new(Report::default());
        if std::str::from_utf8(content).is_err() {
            let text = "is not in UTF-8 everywhere; what is not, was replaced";
            report.borrow_mut().warnings.push(Problem::new("", text));
        }
        if let Some(line) = document.trailing_line {
            let text = format!("what follows the end of the configuration, from line {line} on, is ignored");
            report.borrow_mut().warnings.push(Problem::new("", text));
        }
        let config = Field::root(document.value, &report).section().map(|top| Config::read(top, proxies));
        let report = report.into_inner();
        match config {
            Some(config) if report.errors.is_empty() => Ok((config, report)),
            _ => Err(ConfigError::Invalid { file: file.to_owned(), report }),
        }
    }

    /// The built-in test stream at `/demo.ts`, with `/health` and `/metrics`, on the loopback interface.
    pub fn demo() -> Config {
        Config {
            listeners: vec![Listener { address: ListenAddress::loopback(DEMO_PORT), tls: None }],
            threads: cores(),
            log: LogTarget::Stdout,
            profile: None,
            connections_max: 0,
            connections_full: 0,
            heartbeat: None,
            client: ClientOptions::default(),
            streams: vec![StreamResource::demo(Endpoint::open("/demo.ts"))],
            statics: Vec::new(),
            apis: vec![
                ApiResource { endpoint: Endpoint::open("/health"), api: Api::Health },
                ApiResource { endpoint: Endpoint::open("/metrics"), api: Api::Prometheus },
            ],
            notifications: Vec::new(),
        }
    }

    /// Listens at `addresses` instead of what the file says; a certificate of the file's first listener stays.
    pub fn listen_at(&mut self, addresses: impl IntoIterator<Item = ListenAddress>) {
        let tls = self.listeners.first().and_then(|listener| listener.tls.clone());
        self.listeners =
            addresses.into_iter().map(|address| Listener { address, tls: tls.clone() }).collect();
    }

    fn read(mut top: Section<'_>, proxies: Proxies) -> Config {
        let defaults = Defaults::read(&mut top, proxies);
        // Counting costs nothing now, and the health answer must stay true.
        top.flag("nostats");
        let listeners = Listener::read(&mut top);
        let threads = threads(&mut top);
        let log = top.text("log").map_or(LogTarget::Stdout, |file| LogTarget::File(file.into()));
        let profile = top.take("profile").and_then(profile);
        let (connections_max, connections_full) = connections(&mut top);
        let notifications: Vec<Notification> = top
            .list("notifications")
            .into_iter()
            .filter_map(|field| notification::read(field, &defaults.users))
            .collect();
        let heartbeat = heartbeat(&mut top, &notifications);
        warn_of_silent_limits(&top, &notifications, connections_full);
        let resources = Resources::read(top.list("resources"), &defaults);
        if resources.streams.is_empty() && resources.statics.is_empty() && resources.apis.is_empty() {
            top.warning("resources", "is empty: nothing is served");
        }
        top.finish_beside(&[(&RESOURCE_KEYS, "has no effect at the top; it belongs in a resource")]);
        Config {
            listeners,
            threads,
            log,
            profile,
            connections_max,
            connections_full,
            heartbeat,
            client: defaults.client,
            streams: resources.streams,
            statics: resources.statics,
            apis: resources.apis,
            notifications,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Missing { file } => write!(f, "{}: there is no such file", file.display()),
            ConfigError::Unreadable { file, error } => write!(f, "{}: {error}", file.display()),
            ConfigError::Syntax { file, line, column, what } => {
                write!(f, "{file}: line {line}, column {column}: {what}")
            }
            ConfigError::Invalid { file, report } => {
                let lines: Vec<String> =
                    report.errors.iter().map(|problem| format!("{file}: {problem}")).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConfigError::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}

fn threads(top: &mut Section<'_>) -> NonZeroUsize {
    let threads = top.take("threads").and_then(|field| field.count(0..=THREADS_MAX));
    threads
        .and_then(|threads| usize::try_from(threads).ok())
        .and_then(NonZeroUsize::new)
        .unwrap_or_else(cores)
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// `true`, or the address of the listener.
fn profile(field: Field<'_>) -> Option<ListenAddress> {
    match field.value() {
        Value::Flag(false) => None,
        Value::Flag(true) => Some(ListenAddress::loopback(PROFILE_PORT)),
        Value::Text(text) if text.is_empty() => None,
        Value::Text(text) => match text.parse() {
            Ok(address) => Some(address),
            Err(error) => field.fails(ListenError::to_string(&error)),
        },
        _ => field.wrong_type("true, false or an address to listen at"),
    }
}

/// The hard and the soft limit.
fn connections(top: &mut Section<'_>) -> (u32, u32) {
    let hard = top.count("maxconnections").unwrap_or(0);
    let soft = top.count("fullconnections").unwrap_or(0);
    if hard > 0 && soft > hard {
        let text = format!("{soft} is never reached: maxconnections lets in {hard}");
        top.warning("fullconnections", text);
    }
    (hard, soft)
}

fn heartbeat(top: &mut Section<'_>, notifications: &[Notification]) -> Option<Duration> {
    let wanted = notifications.iter().any(|notification| notification.event == Event::Heartbeat);
    let interval = top.seconds("heartbeatinterval").unwrap_or(HEARTBEAT_DEFAULT);
    if wanted && interval.is_zero() {
        top.warning("heartbeatinterval", "is 0: the heartbeat notification is never sent");
    }
    if wanted { unless_zero(interval) } else { None }
}

fn warn_of_silent_limits(top: &Section<'_>, notifications: &[Notification], soft: u32) {
    let wanted = notifications.iter().any(|notification| notification.event != Event::Heartbeat);
    if wanted && soft == 0 {
        top.warning("fullconnections", "is 0: limit_hit and limit_miss are never sent");
    }
}

#[cfg(test)]
mod tests;
