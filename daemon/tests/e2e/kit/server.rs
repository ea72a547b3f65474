//! The program under test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{self, Answer};
use super::{PATIENCE, Process, Viewer, signal};

/// One line of its log.
pub(crate) type Line = Value;

/// A running `restreamer`, killed when dropped; its log is shown when the test fails.
pub(crate) struct Server {
    process: Process,
    log: Arc<Log>,
    address: SocketAddr,
    directory: TempDir,
}

/// What it has logged so far.
#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Default)]
struct Lines {
    all: Vec<String>,
    has_ended: bool,
}

/// How a server ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) log: Vec<Line>,
}

impl Server {
    /// The built-in test stream.
    pub(crate) fn demo() -> Server {
        let mut command = Server::command();
        command.args(["--demo", "--listen", "127.0.0.1:0"]);
        Server::launch(&mut command, tempfile::tempdir().unwrap())
    }

    /// With this configuration, on a free port of the loopback interface. `/health`, `/metrics` and `/statistics` are
    /// added to its resources.
    pub(crate) fn start(config: Value) -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), config)
    }

    /// The same in a directory that has files for it.
    pub(crate) fn start_in(directory: TempDir, config: Value) -> Server {
        Server::configure(directory.path(), config);
        let mut command = Server::command();
        Server::launch(&mut command, directory)
    }

    /// One of the examples, on a free port, with what stands for other machines replaced.
    pub(crate) fn example(command: &mut Command, name: &str, places: &[(&str, &str)]) -> Server {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut text = fs::read_to_string(examples.join(name)).unwrap();
        for (there, here) in places {
            assert!(text.contains(there), "{there} is not in {name}");
            text = text.replace(there, here);
        }
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), text).unwrap();
        Server::launch(command.args([name, "--listen", "127.0.0.1:0"]), directory)
    }

    /// The same with a log that nobody can follow here. It listens on a port that was free a moment ago.
    pub(crate) fn start_unheard(directory: TempDir, mut config: Value) -> Server {
        let address = SocketAddr::from(([127, 0, 0, 1], super::free_port()));
        config["listen"] = json!(address.to_string());
        Server::configure(directory.path(), config);
        let server = Server::spawn(&mut Server::command(), directory, address);
        super::wait_until("it listens", || http::connect(address).is_ok());
        server
    }

    /// Writes a configuration for a server in `directory`.
    pub(crate) fn configure(directory: &Path, mut config: Value) {
        let listen = config["listen"].take();
        config["listen"] = if listen.is_null() { json!("127.0.0.1:0") } else { listen };
        let resources = config["resources"].as_array_mut().unwrap();
        for (api, serve) in [("health", "/health"), ("prometheus", "/metrics"), ("statistics", "/statistics")]
        {
            resources.push(json!({ "type": "api", "api": api, "serve": serve }));
        }
        fs::write(directory.join("restreamer.json"), config.to_string()).unwrap();
    }

    /// A command that would start it.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_restreamer"));
        for name in ["RUST_LOG", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
    }

    /// Starts it in `directory` and waits until it listens.
    pub(crate) fn launch(command: &mut Command, directory: TempDir) -> Server {
        let mut server = Server::spawn(command, directory, SocketAddr::from(([127, 0, 0, 1], 0)));
        let line = server.wait_for_event("listening");
        server.address = line["address"].as_str().unwrap().parse().unwrap();
        server
    }

    fn spawn(command: &mut Command, directory: TempDir, address: SocketAddr) -> Server {
        let mut process = Process::start(command.current_dir(directory.path()).stdout(Stdio::piped()));
        let log = Arc::<Log>::default();
        let lines = BufReader::new(process.child().stdout.take().unwrap()).lines();
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in lines.map_while(Result::ok) {
                    log.lines.lock().unwrap().all.push(line);
                    log.grown.notify_all();
                }
                log.lines.lock().unwrap().has_ended = true;
                log.grown.notify_all();
            }
        });
        Server { process, log, address, directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it was started.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has written to standard error.
    pub(crate) fn errors(&self) -> String {
        self.process.errors()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        http::get(self.address, path)
    }

    /// A viewer of the stream at `path`, once there is something to see.
    pub(crate) fn view(&self, path: &str) -> Viewer {
        let start = Instant::now();
        loop {
            match Viewer::join(self.address, path) {
                Ok(viewer) => return viewer,
                Err(status) => assert!(start.elapsed() < PATIENCE, "no stream at {path}: status {status}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// The health answer.
    pub(crate) fn health(&self) -> Value {
        serde_json::from_slice(&self.get("/health").body).unwrap()
    }

    /// The sum of the rows of one metric whose labels contain `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let answer = self.get("/metrics");
        let rows = answer.text().lines().filter(|row| row.split(['{', ' ']).next() == Some(name));
        let values = rows.filter(|row| row.contains(label)).map(|row| row.rsplit(' ').next().unwrap());
        let values: Vec<f64> = values.map(|value| value.parse().unwrap()).collect();
        assert!(!values.is_empty(), "no metric {name} with {label}");
        values.iter().sum()
    }

    /// Everything it has logged so far, as text.
    pub(crate) fn log_text(&self) -> String {
        self.log.lines.lock().unwrap().all.join("\n")
    }

    /// Everything it has logged so far with this event.
    pub(crate) fn events(&self, event: &str) -> Vec<Line> {
        let lines = self.log.lines.lock().unwrap();
        parse(&lines.all).into_iter().filter(|line| line["event"] == event).collect()
    }

    /// Waits for the first line with this event.
    pub(crate) fn wait_for_event(&self, event: &str) -> Line {
        self.wait_for_events(event, 1).remove(0)
    }

    /// Waits until `count` lines with this event have been logged.
    pub(crate) fn wait_for_events(&self, event: &str, count: usize) -> Vec<Line> {
        let start = Instant::now();
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            let mut found = parse(&lines.all);
            found.retain(|line| line["event"] == event);
            if found.len() >= count {
                return found;
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            if lines.has_ended || left.is_zero() {
                drop(lines);
                panic!("{} of {count} times {event} in the log", found.len());
            }
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub(crate) fn signal(&self, number: libc::c_int) {
        signal(self.process.id(), number);
    }

    /// Waits until it has ended, and says how.
    pub(crate) fn ended(mut self) -> Ended {
        let code = self.process.end().code();
        let lines = self.log.lines.lock().unwrap();
        let wait = self.log.grown.wait_timeout_while(lines, PATIENCE, |lines| !lines.has_ended);
        let log = parse(&wait.unwrap().0.all);
        Ended { code, log }
    }

    /// A size from its status (proc_pid_status(5)), in bytes.
    pub(crate) fn memory(&self, row: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let mut rows = status.lines().filter_map(|line| line.strip_prefix(row)?.strip_prefix(':'));
        let size = rows.next().unwrap().trim().strip_suffix(" kB").unwrap();
        size.parse::<u64>().unwrap() << 10
    }

    /// The descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// The processor time it has used, in seconds.
    pub(crate) fn processor_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // Fields 14 and 15 of proc(5), in ticks of 10 ms.
        let ticks: u64 = [11, 12].map(|index| fields[index].parse::<u64>().unwrap()).iter().sum();
        ticks as f64 / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the server:\n{}", self.log_text());
        }
    }
}

impl Ended {
    /// Everything it had logged with this event.
    pub(crate) fn events(&self, event: &str) -> Vec<&Line> {
        self.log.iter().filter(|line| line["event"] == event).collect()
    }
}

fn parse(lines: &[String]) -> Vec<Line> {
    let line = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| json!({ "no JSON": line }));
    lines.iter().map(line).collect()
}
