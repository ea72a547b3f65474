//! TLS and domain sockets, with a client that many people have.

use std::fs;
use std::io::Read;
use std::process::{ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::{self, Process, Recording, Server};

/// The clip, on these listeners; the first one is the one that tests talk to otherwise.
fn server_at(directory: TempDir, more: Value) -> Server {
    let remote = format!("file://{}", kit::clip().display());
    let server = Server::start_in(
        directory,
        json!({ "listen": ["127.0.0.1:0", more], "resources": [
            { "type": "stream", "serve": "/live.ts", "remote": remote, "loop": true },
        ] }),
    );
    server.view("/live.ts");
    server
}

/// curl, which plays a stream.
struct Curl {
    _process: Process,
    output: ChildStdout,
    got: Vec<u8>,
}

impl Curl {
    fn start(args: &[&str]) -> Curl {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--no-buffer"]).args(args);
        let mut process = Process::start(command.stdout(Stdio::piped()));
        let output = process.child().stdout.take().unwrap();
        Curl { _process: process, output, got: Vec::new() }
    }

    /// Reads so many packets more.
    fn play(&mut self, packets: usize) {
        let mut bytes = vec![0; packets * 188];
        self.output.read_exact(&mut bytes).unwrap();
        self.got.extend(bytes);
    }

    fn recording(&self) -> Recording {
        Recording::new(self.got.clone())
    }
}

#[test]
fn tls_with_a_certificate_that_is_replaced_under_way() {
    if !kit::has("listeners::tls", &["curl"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    kit::certify(directory.path());
    let port = kit::free_port();
    let address = format!("127.0.0.1:{port}");
    let secure = json!({ "address": address, "tls": { "cert": "cert.pem", "key": "key.pem" } });
    let server = server_at(directory, secure);
    let lines = server.wait_for_events("listening", 2);
    assert_eq!((&lines[0]["tls"], &lines[1]["tls"]), (&json!(false), &json!(true)));
    let resolve = format!("localhost:{port}:127.0.0.1");
    let file = |name: &str| server.directory().join(name).to_str().unwrap().to_owned();
    let url = |path: &str| format!("https://localhost:{port}{path}");
    let believes = |cert: &str| {
        let args = ["--silent", "--fail", "--resolve", &*resolve, "--cacert", cert, &*url("/health")];
        kit::run("curl", args).status.success()
    };
    fs::copy(file("cert.pem"), file("first.pem")).unwrap();
    let first = file("first.pem");
    let mut viewer = Curl::start(&["--resolve", &resolve, "--cacert", &first, &url("/live.ts")]);
    viewer.play(500);
    viewer.recording().assert_begins_at_access_point();
    assert!(believes(&first));

    kit::certify(server.directory());
    server.wait_for_event("certificate_reloaded");
    assert!(believes(&file("cert.pem")) && !believes(&first), "new connections get the new certificate");
    let mut another = Curl::start(&["--resolve", &resolve, "--cacert", &file("cert.pem"), &url("/live.ts")]);
    another.play(500);
    another.recording().assert_continuous();
    viewer.play(500);
    viewer.recording().assert_continuous();

    // Plain HTTP at the same port gets no answer, and disturbs nobody.
    assert!(!kit::run("curl", ["--silent", &*format!("http://{address}/health")]).status.success());
    another.play(100);
    kit::wait_until("both still watch", || server.health()["viewer"] == 2);
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended().code, Some(0));
}

#[test]
fn a_domain_socket_that_comes_and_goes_with_the_server() {
    if !kit::has("listeners::unix", &["curl"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let sockets = tempfile::tempdir().unwrap();
    let socket = sockets.path().join("restreamer.sock");
    let path = socket.to_str().unwrap();
    // What a server that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let server = server_at(directory, json!(format!("unix:{path}")));
    let mut viewer = Curl::start(&["--unix-socket", path, "http://localhost/live.ts"]);
    viewer.play(500);
    viewer.recording().assert_begins_at_access_point();
    viewer.recording().assert_continuous();
    kit::wait_until("one watches", || server.health()["viewer"] == 1);
    let health = kit::run("curl", ["--silent", "--unix-socket", path, "http://localhost/health"]);
    assert_eq!(serde_json::from_str::<Value>(&health.stdout).unwrap()["viewer"], 1, "{health:?}");
    drop(viewer);
    let ends = server.wait_for_events("viewer_end", 2);
    assert!(ends.iter().any(|end| end["remote"] == "local"), "{ends:?}");
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended().code, Some(0));
    assert!(!socket.exists(), "the socket is removed");
}
