//! What all tests here are made of: the server, sources, viewers, and what a viewer recorded.

mod crowd;
pub(crate) mod http;
mod identity;
mod mast;
mod origin;
mod process;
mod recording;
mod server;
mod source;
mod viewer;

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use crowd::Crowd;
pub(crate) use identity::certify;
pub(crate) use mast::Mast;
pub(crate) use origin::Origin;
pub(crate) use process::{Process, run, run_command, signal};
pub(crate) use recording::Recording;
pub(crate) use server::Server;
pub(crate) use source::{Feed, playing};
pub(crate) use viewer::Viewer;

/// The longest that anything expected may take, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A short recording with picture and sound that can be looped without a seam.
pub(crate) fn clip() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo.ts")
}

/// A port that nobody listens on, neither for TCP nor for UDP, a moment ago.
pub(crate) fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Whether all these programs are here; says that the test is skipped when they are not.
pub(crate) fn has(test: &str, programs: &[&str]) -> bool {
    let is_here = |program: &&&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    };
    let missing: Vec<_> = programs.iter().filter(|program| !is_here(program)).collect();
    if !missing.is_empty() {
        skip(test, &format!("not installed: {missing:?}"));
    }
    missing.is_empty()
}

/// Says that a test is skipped, past the capture of the test harness.
pub(crate) fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(PATIENCE, condition), "waited in vain: {what}");
}

/// Whether `condition` holds at some moment within `time`.
pub(crate) fn holds_within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > time {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}
