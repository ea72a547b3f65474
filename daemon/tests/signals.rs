//! What a process does on signals: this test binary runs itself as the process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use restreamer::config::LogTarget;
use restreamer::log::Log;
use restreamer::signals;

/// Set for the child; holds its log file, or nothing for standard output.
const LOG: &str = "RESTREAMER_TEST_LOG";
/// Set for the child that does not end when asked to.
const STUBBORN: &str = "RESTREAMER_TEST_STUBBORN";
const PATIENCE: Duration = Duration::from_secs(20);

/// The child. As a test of its own it does nothing.
#[test]
fn child() {
    let Ok(file) = std::env::var(LOG) else { return };
    let target = if file.is_empty() { LogTarget::Stdout } else { LogTarget::File(file.into()) };
    let log = Log::open(&target).unwrap();
    log.install().unwrap();
    let mut shutdown = signals::handle(log.handle()).unwrap();
    assert!(!shutdown.is_requested());
    println!("ready");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(shutdown.requested());
    assert!(shutdown.is_requested());
    println!("asked");
    if std::env::var_os(STUBBORN).is_some() {
        std::thread::sleep(2 * PATIENCE);
    }
    drop(log);
    std::process::exit(0);
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Whatever the tests themselves were started to ignore.
    fn start(log: &str, stubborn: bool) -> Process {
        let mut env = Command::new("env");
        env.arg("--default-signal=HUP").arg(std::env::current_exe().unwrap());
        Process::launch(env, log, stubborn)
    }

    fn launch(mut command: Command, log: &str, stubborn: bool) -> Process {
        command
            .args(["child", "--exact", "--nocapture"])
            .env(LOG, log)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped());
        if stubborn {
            command.env(STUBBORN, "1");
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Process { child, lines };
        process.wait_for("ready");
        process
    }

    fn send(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: kill takes no pointers; the child has not been waited for, so that the id is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    fn wait_for(&mut self, text: &str) {
        let found = self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(text));
        assert!(found.is_some(), "the process ended before it said {text:?}");
    }

    /// The exit code, or the signal that ended it.
    fn end(mut self) -> Result<i32, i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().ok_or_else(|| status.signal().unwrap());
            }
            if start.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("the process did not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn the_first_signal_ends_the_process_in_good_order() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mut process = Process::start("", false);
        process.send(signal);
        process.wait_for("\"event\":\"shutdown\"");
        assert_eq!(process.end(), Ok(0));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in [(libc::SIGTERM, libc::SIGTERM), (libc::SIGTERM, libc::SIGINT)] {
        let mut process = Process::start("", true);
        process.send(first);
        process.wait_for("asked");
        process.send(second);
        process.wait_for("\"event\":\"killed\"");
        assert_eq!(process.end(), Ok(128 + second));
    }
}

#[test]
fn sigusr1_opens_the_log_file_again() {
    let dir = tempfile::tempdir().unwrap();
    let (file, old) = (dir.path().join("log"), dir.path().join("log.1"));
    let process = Process::start(file.to_str().unwrap(), false);
    fs::rename(&file, &old).unwrap();
    process.send(libc::SIGUSR1);
    wait_until(|| contains(&file, "\"event\":\"log_reopened\""));
    process.send(libc::SIGTERM);
    assert_eq!(process.end(), Ok(0));
    assert!(contains(&file, "\"event\":\"shutdown\""), "what is logged last is flushed");
    assert!(!contains(&old, "\"event\":\"shutdown\""));
}

#[test]
fn sigusr1_without_a_log_file_ends_nothing() {
    let mut process = Process::start("", false);
    for _ in 0..3 {
        process.send(libc::SIGUSR1);
        process.wait_for("log_kept");
    }
    process.send(libc::SIGTERM);
    assert_eq!(process.end(), Ok(0));
}

#[test]
fn what_was_started_with_nohup_ignores_a_hangup() {
    let mut nohup = Command::new("nohup");
    nohup.arg(std::env::current_exe().unwrap());
    let mut process = Process::launch(nohup, "", false);
    process.send(libc::SIGHUP);
    process.send(libc::SIGUSR1);
    process.wait_for("log_kept");
    process.send(libc::SIGTERM);
    process.wait_for("\"signal\":15");
    assert_eq!(process.end(), Ok(0));
}

fn contains(file: &Path, text: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|content| content.contains(text))
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
