//! Logs whose other end is full, stands still, or is moved away, while people watch.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::{self, Crowd, Server, Viewer, http};

/// Viewers who stay.
const VIEWERS: usize = 5;

/// A server that logs to `log` in `directory`.
fn server_logging_in(directory: TempDir) -> Server {
    let remote = format!("file://{}", kit::clip().display());
    Server::start_unheard(
        directory,
        json!({ "log": "log", "userlist": { "anna": { "password": "right" } }, "resources": [
            { "type": "stream", "serve": "/live.ts", "remote": remote, "loop": true },
            { "type": "api", "api": "health", "serve": "/private",
              "authentication": { "type": "bearer", "user": "anna" } },
        ] }),
    )
}

fn viewers(server: &Server) -> Vec<Viewer> {
    (0..VIEWERS).map(|_| server.view("/live.ts")).collect()
}

/// They have got everything up to now, and get more.
fn assert_undisturbed(viewers: &[Viewer]) {
    for viewer in viewers {
        viewer.wait_for_more(100);
        viewer.recording().assert_continuous();
    }
}

/// What is in a log file, one object a line, without what is being written.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text[..whole].lines().map(object).collect()
}

fn object(line: &str) -> Value {
    let json = line.split_once("] ").unwrap_or_else(|| panic!("{line}")).1;
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn named(lines: &[Value], event: &str) -> u64 {
    lines.iter().filter(|line| line["event"] == event).count() as u64
}

fn dropped(server: &Server) -> u64 {
    server.metric("restreamer_log_lines_dropped_total", "") as u64
}

#[test]
fn a_full_disk_costs_lines_and_no_packets_until_there_is_room_again() {
    let directory = tempfile::tempdir().unwrap();
    symlink("/dev/full", directory.path().join("log")).unwrap();
    let server = server_logging_in(directory);
    let viewers = viewers(&server);
    let tally = {
        let crowd = Crowd::gather(server.address(), "/live.ts", 10);
        viewers[0].wait_for_more(1000);
        crowd.disperse()
    };
    kit::wait_until("every line is lost", || dropped(&server) > tally.let_in);
    assert_undisturbed(&viewers);

    // The operator makes room, and says so.
    let path = server.directory().join("log");
    fs::remove_file(&path).unwrap();
    server.signal(libc::SIGUSR1);
    kit::wait_until("the loss is told", || path.exists() && named(&lines(&path), "log_lines_dropped") == 1);
    let told = lines(&path);
    let loss = told.iter().find(|line| line["event"] == "log_lines_dropped").unwrap();
    assert_eq!(loss["lines"].as_u64(), Some(dropped(&server)), "{loss}");
    assert_undisturbed(&viewers);
    drop(viewers);
    kit::wait_until("viewers are in the log again", || named(&lines(&path), "viewer_end") == VIEWERS as u64);
}

#[test]
fn a_log_that_nobody_reads_costs_lines_and_no_packets_until_somebody_does() {
    const DENIED: u64 = 60_000;
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("log");
    assert!(kit::run("mkfifo", [&fifo]).status.success());
    let server = server_logging_in(directory);
    let viewers = viewers(&server);
    // Each of these is a line of some 200 bytes.
    deny(&server, DENIED);
    let lost = dropped(&server);
    assert!(lost > 0 && lost < DENIED, "{lost} lines dropped");
    assert_undisturbed(&viewers);

    // A reader comes: what was kept is there, in order, and the rest is told in number.
    let reader = BufReader::new(File::open(&fifo).unwrap());
    let (mut denied, mut told) = (0, 0);
    for line in reader.lines() {
        let line = object(&line.unwrap());
        match line["event"].as_str().unwrap() {
            "denied" => denied += 1,
            "log_lines_dropped" => told += line["lines"].as_u64().unwrap(),
            _ => {}
        }
        if denied + told == DENIED {
            break;
        }
        assert!(denied + told < DENIED, "{denied} lines and {told} that were lost");
    }
    assert_eq!(told, dropped(&server));
    assert_undisturbed(&viewers);
}

/// So many requests with the wrong password, one after the other on a few connections.
fn deny(server: &Server, count: u64) {
    const TOGETHER: u64 = 100;
    let request = "GET /private HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer wrong\r\n\r\n";
    let mut stream = http::connect(server.address()).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    for _ in 0..count / TOGETHER {
        stream.write_all(request.repeat(TOGETHER as usize).as_bytes()).unwrap();
        let mut answered = 0;
        while answered < TOGETHER {
            answered += u64::from(answers.next().unwrap().unwrap().starts_with("HTTP/1.1 403 "));
        }
    }
}

/// What logrotate does, over and over, while people come and go.
#[test]
fn rotation_under_load_loses_no_line() {
    const ROTATIONS: usize = 20;
    let server = server_logging_in(tempfile::tempdir().unwrap());
    let (directory, viewers) = (server.directory().to_owned(), viewers(&server));
    let (path, rotated) = (directory.join("log"), |number| directory.join(format!("log.{number}")));
    let crowd = Crowd::gather(server.address(), "/live.ts", 20);
    for number in 0..ROTATIONS {
        viewers[0].wait_for_more(20);
        fs::rename(&path, rotated(number)).unwrap();
        server.signal(libc::SIGUSR1);
        kit::wait_until("there is a new file", || path.exists());
    }
    let tally = crowd.disperse();
    let files = || (0..ROTATIONS).map(rotated).chain([path.clone()]);
    let left = || files().map(|file| named(&lines(&file), "viewer_end")).sum::<u64>();
    kit::wait_until("every line is in one of the files", || left() >= tally.let_in);
    assert_eq!(left(), tally.let_in);
    let reopened = || files().map(|file| named(&lines(&file), "log_reopened")).sum::<u64>();
    kit::wait_until("every rotation is in one of the files", || reopened() == ROTATIONS as u64);
    assert_eq!(dropped(&server), 0);
    assert!(tally.let_in > ROTATIONS as u64, "{tally:?}");
    assert_undisturbed(&viewers);
}
