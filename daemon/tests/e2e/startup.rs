//! How the process begins, obeys signals, ends, and lives with few descriptors.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::kit::{self, Process, Server, Viewer, http};

/// Runs a server that is not expected to start; what it says, and its exit code.
fn fails_to_start(command: &mut Command) -> (String, Option<i32>) {
    let mut process = Process::start(command.stdout(Stdio::null()));
    let code = process.end().code();
    kit::wait_until("it says why", || !process.errors().is_empty());
    (process.errors(), code)
}

#[test]
fn a_port_in_use_is_named() {
    let server = Server::demo();
    let address = server.address().to_string();
    let (said, code) = fails_to_start(Server::command().args(["--demo", "--listen", &address]));
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("cannot listen on {address}: ")), "{said}");
    assert!(said.contains("another program uses it"), "{said}");
    assert_eq!(server.get("/health").head.status, 200, "the first one goes on");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let (said, code) = fails_to_start(Server::command().args(["--demo", "--listen", "192.0.2.1:8000"]));
    assert_eq!(code, Some(1));
    assert!(said.contains("no interface of this machine has the address"), "{said}");
}

#[test]
fn a_port_that_needs_privileges_is_named() {
    let test = "startup::privileged_port";
    let first_open = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first_open.is_ok_and(|port| port.trim().parse::<u16>().is_ok_and(|port| port <= 80)) {
        return kit::skip(test, "every user may listen on port 80 here");
    }
    let mut command = Server::command();
    command.args(["--demo", "--listen", "127.0.0.1:80"]);
    // SAFETY: geteuid cannot fail and takes nothing.
    if unsafe { libc::geteuid() } == 0 {
        const NOBODY: u32 = 65534;
        command.uid(NOBODY).gid(NOBODY);
        if command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(|mut child| child.wait()).is_err()
        {
            return kit::skip(test, "another user may not run the binary here");
        }
    }
    let (said, code) = fails_to_start(&mut command);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot listen on 127.0.0.1:80: "), "{said}");
    assert!(said.contains("ports below 1024"), "{said}");
}

#[test]
fn a_signal_ends_the_responses_at_a_packet_and_the_process_well() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let server = Server::demo();
        let viewers: Vec<_> = (0..8).map(|_| server.view("/demo.ts")).collect();
        for viewer in &viewers {
            viewer.wait_for_more(100);
        }
        server.signal(signal);
        for viewer in &viewers {
            viewer.wait_for_end().assert_continuous();
        }
        let ended = server.ended();
        assert_eq!(ended.code, Some(0));
        let ends = ended.events("viewer_end");
        assert_eq!(ends.len(), 8);
        assert!(ends.iter().all(|line| line["reason"] == "shutdown"), "{ends:?}");
        let last = ended.log.iter().skip_while(|line| line["event"] != "shutdown");
        assert!(last.clone().count() >= 1);
        for line in last {
            assert_eq!(line["level"], "info", "an end that was asked for is no trouble: {line}");
        }
    }
}

#[test]
fn a_viewer_that_reads_nothing_delays_the_end_by_a_few_seconds_only() {
    let server = Server::demo();
    let text = "GET /demo.ts HTTP/1.1\r\nHost: test\r\n\r\n";
    let _stuck = http::open(server.address(), text).unwrap();
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended().code, Some(0));
}

#[test]
fn sigusr1_changes_nothing_for_viewers() {
    let server = Server::demo();
    let viewer = server.view("/demo.ts");
    for count in 1..=5 {
        server.signal(libc::SIGUSR1);
        server.wait_for_events("log_kept", count);
        viewer.wait_for_more(20);
    }
    viewer.recording().assert_continuous();
}

/// With 64 descriptors, 200 clients: those inside go on, the log says why the others wait, nothing spins, and it
/// recovers by itself.
#[test]
fn running_out_of_descriptors_hurts_only_those_outside() {
    let mut command = Command::new("sh");
    let line = "ulimit -n 64; exec \"$0\" --demo --listen 127.0.0.1:0";
    command.args(["-c", line, env!("CARGO_BIN_EXE_restreamer")]);
    let server = Server::launch(&mut command, tempfile::tempdir().unwrap());
    let inside: Vec<_> = (0..20).map(|_| server.view("/demo.ts")).collect();

    let ask = |address: SocketAddr| {
        let mut stream = TcpStream::connect_timeout(&address, kit::PATIENCE).unwrap();
        std::io::Write::write_all(&mut stream, b"GET /demo.ts HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        stream
    };
    let outside: Vec<_> = (0..200).map(|_| ask(server.address())).collect();
    let complaint = server.wait_for_event("accept_failed");
    assert_eq!(complaint["level"], "error", "{complaint}");

    let used = server.processor_seconds();
    let until = Instant::now() + Duration::from_secs(3);
    inside[0].wait_for_more(700);
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    let used = server.processor_seconds() - used;
    assert!(used < 1.5, "{used} s of processor time in 3 s");
    for viewer in &inside {
        viewer.wait_for_more(200);
        viewer.recording().assert_continuous();
    }
    assert!(server.events("accept_failed").len() <= 8, "the log is not flooded");

    drop(outside);
    let late = server.view("/demo.ts");
    late.wait_for_more(100);
    late.recording().assert_begins_at_access_point();
    drop((late, inside));
    kit::wait_until("all places are free", || server.health()["viewer"] == 0);
    assert!(Viewer::join(server.address(), "/demo.ts").is_ok());
    assert_eq!(http::get(server.address(), "/nothing").head.status, 404);
}
