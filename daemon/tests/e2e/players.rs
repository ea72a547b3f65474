//! Players that people use, and the requests that they make.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::kit::{self, Process, Server, Viewer, http};

#[test]
fn gstreamer_decodes_picture_and_sound_without_a_warning() {
    let test = "players::gstreamer";
    if !kit::has(test, &["gst-launch-1.0", "gst-inspect-1.0"]) {
        return;
    }
    let elements = ["souphttpsrc", "tsdemux", "h264parse", "avdec_h264", "aacparse", "avdec_aac"];
    if let Some(missing) =
        elements.iter().find(|element| !kit::run("gst-inspect-1.0", [element]).status.success())
    {
        return kit::skip(test, &format!("GStreamer has no {missing}"));
    }
    let server = Server::demo();
    let pipeline = format!(
        "souphttpsrc location={} is-live=true ! tsdemux name=d \
         d. ! queue ! h264parse ! avdec_h264 ! identity eos-after=100 ! fakesink name=picture silent=false \
         d. ! queue ! aacparse ! avdec_aac ! identity eos-after=180 ! fakesink name=sound silent=false",
        server.url("/demo.ts")
    );
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new("gst-launch-1.0");
    command
        .arg("-v")
        .args(pipeline.split_whitespace())
        .env("HOME", home.path())
        .env("GST_DEBUG_NO_COLOR", "1");
    command.env("GST_DEBUG", "tsdemux:2,mpegtsbase:2,mpegtspacketizer:2,h264parse:2,aacparse:2,libav:2");
    let output = kit::run_command(&mut command);
    assert!(output.status.success(), "{}\n{}", output.stdout, output.stderr);
    assert_eq!(output.stderr, "");
    for (element, least) in [("picture", 50), ("sound", 90)] {
        let shown = output.stdout.lines().filter(|line| line.contains(element) && line.contains("= chain "));
        let shown = shown.count();
        assert!(shown >= least, "{shown} buffers of {element}");
    }
}

#[test]
fn vlc_shows_a_picture() {
    let test = "players::vlc";
    if !kit::has(test, &["cvlc"]) {
        return;
    }
    let server = Server::demo();
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new("cvlc");
    // SAFETY: geteuid cannot fail and takes nothing.
    if unsafe { libc::geteuid() } == 0 {
        // It refuses to run as root.
        const NOBODY: u32 = 65534;
        command.uid(NOBODY).gid(NOBODY);
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    command.env("HOME", home.path()).current_dir(home.path());
    command.args(["-vv", "--no-color", "--intf", "dummy", "--vout", "dummy", "--aout", "dummy"]);
    command.args(["--run-time", "5", &server.url("/demo.ts"), "vlc://quit"]);
    let mut process = Process::start(command.stdout(Stdio::null()));
    let status = process.end();
    let said = process.errors();
    assert!(status.success(), "{said}");
    assert!(said.contains("Received first picture"), "{said}");
    for trouble in ["discontinuity", "corrupt", "lost", "late picture"] {
        assert!(!said.contains(trouble), "{said}");
    }
    let end = server.wait_for_event("viewer_end");
    assert!(end["user_agent"].as_str().unwrap().starts_with("VLC/"), "{end}");
    assert_eq!(end["reason"], "client_left", "{end}");
}

/// What players ask beside the path: parts of the stream, titles of songs, the old version.
#[test]
fn what_players_add_to_a_request_changes_nothing() {
    let server = Server::demo();
    server.view("/demo.ts");
    for request in [
        "GET /demo.ts HTTP/1.1\r\nHost: tv.example\r\nRange: bytes=0-\r\nIcy-MetaData: 1\r\n\r\n",
        "GET /demo.ts HTTP/1.1\r\nHost: tv.example\r\nRange: bytes=188-375\r\nConnection: keep-alive\r\n\r\n",
        "GET /demo.ts HTTP/1.0\r\n\r\n",
        "GET /demo.ts HTTP/1.0\r\nHost: tv.example\r\nConnection: keep-alive\r\n\r\n",
        "GET /demo.ts?t=17&token=x HTTP/1.1\r\nHost: tv.example\r\nAccept-Encoding: gzip, br\r\n\r\n",
        "GET http://tv.example/demo.ts HTTP/1.1\r\nHost: tv.example\r\nUpgrade-Insecure-Requests: 1\r\n\r\n",
    ] {
        let viewer = Viewer::ask(server.address(), request).unwrap();
        viewer.wait_for(100);
        viewer.recording().assert_begins_at_access_point();
        let head = &viewer.head;
        assert_eq!(head.header("content-type"), Some("video/mpeg"), "{request}");
        assert_eq!(head.header("accept-ranges"), Some("none"), "{request}");
        assert_eq!(head.header("connection"), Some("close"), "{request}");
        for name in
            ["content-length", "content-range", "transfer-encoding", "content-encoding", "icy-metaint"]
        {
            assert_eq!(head.header(name), None, "{request}");
        }
    }
}

#[test]
fn a_head_request_occupies_no_place() {
    let server = Server::demo();
    let viewer = server.view("/demo.ts");
    let text = "HEAD /demo.ts HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    for _ in 0..3 {
        let answer = http::request(server.address(), text);
        assert_eq!((answer.head.status, answer.body.len()), (200, 0));
        assert_eq!(answer.head.header("content-type"), viewer.head.header("content-type"));
    }
    assert_eq!(server.health()["viewer"], 1);
}
