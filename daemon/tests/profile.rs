//! Profiles of a running server, as `go tool pprof` and a browser ask for them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &str = "hunter2";

/// A server with a profile listener and a password to keep.
struct Server {
    child: Child,
    log: Receiver<Value>,
    main: SocketAddr,
    profile: SocketAddr,
    _dir: TempDir,
}

impl Server {
    fn start() -> Server {
        let dir = directory("127.0.0.1:0");
        let mut child = command(&dir, &[]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, log) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Nobody may listen any more; the pipe has to be emptied all the same.
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server { child, log, main: unknown, profile: unknown, _dir: dir };
        server.profile = server.wait_for("profiling")["address"].as_str().unwrap().parse().unwrap();
        server.main = server.wait_for("listening")["address"].as_str().unwrap().parse().unwrap();
        server
    }

    fn wait_for(&self, event: &str) -> Value {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap();
            if line["event"] == event {
                return line;
            }
        }
    }

    fn profile(&self, method: &str, target: &str) -> Answer {
        finish(ask(self.profile, method, target))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

#[test]
fn the_index_tells_what_there_is_and_the_rest_is_refused() {
    let server = Server::start();
    for path in ["/", "/debug/pprof", "/debug/pprof/"] {
        let index = server.profile("GET", path);
        assert_eq!(index.status, 200);
        for target in ["\"/debug/pprof/profile?seconds=30\"", "\"/debug/pprof/flamegraph?seconds=30\""] {
            assert!(index.text().contains(target), "{}", index.text());
        }
    }
    let table = [
        ("GET", "/metrics", 404),
        ("GET", "/debug/pprof/heap", 404),
        ("POST", "/debug/pprof/profile?seconds=1", 405),
        ("GET", "/debug/pprof/profile?seconds=0", 400),
        ("GET", "/debug/pprof/flamegraph?seconds=301", 400),
    ];
    for (method, target, status) in table {
        assert_eq!(server.profile(method, target).status, status, "{method} {target}");
    }
}

#[test]
fn a_profile_names_what_the_process_does_and_no_secret() {
    let server = Server::start();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Something to be seen: samples are taken of processor time only.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                finish(ask(server.main, "GET", &format!("/metrics?token={SECRET}")));
            }
        });
        let start = Instant::now();
        let profile = loop {
            let answer = server.profile("GET", "/debug/pprof/profile?seconds=1");
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.head.contains("content-type: application/octet-stream\r\n"), "{}", answer.head);
            assert_eq!(answer.body[..2], [0x1f, 0x8b], "not gzip");
            let profile = Profile::read(&answer.body);
            assert_eq!(profile.strings[0], "");
            assert_eq!(profile.sample_types, 2);
            assert_eq!(profile.locations, profile.functions);
            if profile.strings.iter().any(|name| name.contains("restreamer_io::")) {
                break profile;
            }
            assert!(start.elapsed() < PATIENCE, "nothing of ours in {:?}", profile.strings);
        };
        let flamegraph = loop {
            let answer = server.profile("GET", "/debug/pprof/flamegraph?seconds=1");
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.head.contains("content-type: image/svg+xml\r\n"), "{}", answer.head);
            assert!(answer.text().starts_with("<?xml"), "{}", answer.text());
            assert!(answer.text().trim_end().ends_with("</svg>"), "{}", answer.text());
            if answer.text().contains("restreamer_io::") {
                break answer;
            }
            assert!(start.elapsed() < 2 * PATIENCE, "{}", answer.text());
        };
        is_over.store(true, Ordering::Relaxed);
        assert!(profile.samples > 0);
        assert!(profile.strings.iter().all(|text| !text.contains(SECRET)), "{:?}", profile.strings);
        assert!(!flamegraph.text().contains(SECRET));
    });
}

#[test]
fn one_profile_at_a_time_and_a_client_that_leaves_ends_its_own() {
    let server = Server::start();
    let first = ask(server.profile, "GET", "/debug/pprof/profile?seconds=300");
    assert_eq!(server.wait_for("profile")["seconds"], 300);
    let second = server.profile("GET", "/debug/pprof/flamegraph?seconds=1");
    assert_eq!(second.status, 503);
    assert_eq!(second.text(), "another profile is being taken, one at a time: try again later\n");
    assert_eq!(server.profile("GET", "/").status, 200);
    drop(first);
    let start = Instant::now();
    while server.profile("GET", "/debug/pprof/flamegraph?seconds=1").status != 200 {
        assert!(start.elapsed() < PATIENCE, "the profile of the client that left goes on");
    }
}

#[test]
fn a_server_in_the_middle_of_a_profile_ends_when_asked() {
    let mut server = Server::start();
    let client = ask(server.profile, "GET", "/debug/pprof/profile?seconds=300");
    server.wait_for("profile");
    // SAFETY: kill takes no pointers; the child has not been waited for, so that the id is still its own.
    assert_eq!(unsafe { libc::kill(server.child.id().try_into().unwrap(), libc::SIGTERM) }, 0);
    // The log ends with the process.
    while server.log.recv_timeout(PATIENCE).is_ok() {}
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    drop(client);
}

#[test]
fn a_port_that_is_in_use_is_an_error_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = directory(&address.to_string());
    let Output { status, stderr, .. } = command(&dir, &[]).output().unwrap();
    assert_eq!(status.code(), Some(1));
    let stderr = String::from_utf8(stderr).unwrap();
    let expected = format!("restreamer: profile: cannot listen on {address}: ");
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert!(stderr.ends_with("choose another port with the key profile\n"), "{stderr}");
}

#[test]
fn profiles_are_served_on_loopback_unless_told_otherwise() {
    for (value, shown) in [("true", "127.0.0.1:6060"), ("\":7070\"", ":7070"), ("false", "off")] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("restreamer.json"), format!("{{ \"profile\": {value} }}")).unwrap();
        let output = command(&dir, &["--check"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("\n  profile          {shown}\n")), "{text}");
    }
}

fn directory(profile: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        r#"{{ "listen": "127.0.0.1:0", "profile": "{profile}", "threads": 2,
            "userlist": {{ "anna": {{ "password": "{SECRET}" }} }},
            "resources": [
                {{ "type": "stream", "serve": "/a.ts", "remote": "http://anna:{SECRET}@127.0.0.1:9/a.ts",
                    "authentication": {{ "type": "basic", "user": "anna" }} }},
                {{ "type": "api", "api": "prometheus", "serve": "/metrics" }}
            ] }}"#
    );
    fs::write(dir.path().join("restreamer.json"), text).unwrap();
    dir
}

/// The profiler's file for samples is in the directory too, and goes with it.
fn command(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_restreamer"));
    command.args(args).current_dir(dir).env("TMPDIR", dir.path()).env_remove("RUST_LOG");
    command
}

fn ask(address: SocketAddr, method: &str, target: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(client, "{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    client
}

fn finish(mut client: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("no end of the head") + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    Answer { status: head[9..12].parse().unwrap(), head, body: bytes.split_off(end) }
}

/// As much of a profile as the tests look at (`profile.proto` of github.com/google/pprof).
#[derive(Default)]
struct Profile {
    sample_types: usize,
    samples: usize,
    locations: usize,
    functions: usize,
    strings: Vec<String>,
}

impl Profile {
    fn read(compressed: &[u8]) -> Profile {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(compressed).read_to_end(&mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        let mut profile = Profile::default();
        while !rest.is_empty() {
            let key = varint(&mut rest);
            match key & 7 {
                0 => drop(varint(&mut rest)),
                2 => {
                    let length = usize::try_from(varint(&mut rest)).unwrap();
                    let (value, after) = rest.split_at(length);
                    rest = after;
                    match key >> 3 {
                        1 => profile.sample_types += 1,
                        2 => profile.samples += 1,
                        4 => profile.locations += 1,
                        5 => profile.functions += 1,
                        6 => profile.strings.push(String::from_utf8(value.to_vec()).unwrap()),
                        _ => {}
                    }
                }
                kind => panic!("wire type {kind}"),
            }
        }
        profile
    }
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().unwrap();
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a varint of more than 64 bits")
}
