//! The load tool as it is used: the binary, its children, its output.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

fn load(arguments: &str) -> Value {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_restreamer-load"))
        .args(arguments.split(' '))
        .arg("--json")
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with('|') && shown.lines().count() > 2, "no table: {shown}");
    serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap()
}

#[test]
fn a_run_of_the_reference_delivers_everything() {
    let load_options = "--duration 1 --warm-up 0 --settle 0 --sweep 10";
    let report = load(&format!("run --reference --viewers 20 --checking 5 --bitrate 2M {load_options}"));
    let audience = &report["audience"];
    assert_eq!((audience["streaming"].as_u64(), audience["checking"].as_u64()), (Some(20), Some(5)));
    for what in ["lost", "repeated", "stray_bytes", "discontinuities"] {
        assert_eq!(audience["checked"][what], 0, "{what}");
    }
    assert!(audience["bytes"].as_u64() > Some(0));
    assert!(audience["delay"]["count"].as_u64() > Some(0));
    assert!(report["server"]["rss_bytes"].as_u64() > Some(0));
    assert_eq!(report["scenario"]["bitrate"], 2_000_000);
}

#[test]
fn any_server_can_be_compared_with_the_reference() {
    let binary = env!("CARGO_BIN_EXE_restreamer-load");
    // The reference, started as a server would be: the ratio is that of the machine with itself.
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(binary)
        .args(
            "compare --rounds 1 --duration 1 --warm-up 0 --settle 0 --viewers 3 --checking 3 --quiet"
                .split(' '),
        )
        .args([
            "--path",
            "/",
            "--server",
            &format!("'{binary}' reference --from {{remote}} --listen {{listen}}"),
        ])
        .arg("--json")
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let comparisons: Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
    assert_eq!(comparisons[0]["server"].as_array().unwrap().len(), 1);
    assert_eq!(comparisons[0]["reference"][0]["subject"], "reference");
    assert_eq!(comparisons[0]["server"][0]["audience"]["checked"]["lost"], 0);
    assert!(comparisons[0]["summary"]["cpu"]["ratio"]["median"].is_number());
}

#[test]
fn idle_streams_are_drained_by_the_reference() {
    let report =
        load("run --reference --viewers 0 --streams 3 --bitrate 1M --duration 1 --warm-up 0 --settle 0");
    assert_eq!(report["audience"]["bytes"], 0);
    assert_eq!(report["server"]["cpu_s_per_gb"], Value::Null);
}

#[test]
fn viewers_of_a_server_that_is_not_there_fail_with_a_report_and_a_reason() {
    // Bound and not listening: connects are refused, and nobody else gets the port meanwhile.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let url = format!("http://{}/x.ts", socket.local_addr().unwrap().as_socket().unwrap());
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_restreamer-load"))
        .args(["viewers", &url, "--viewers", "2", "--duration", "1", "--json"])
        .arg(file.path())
        .output()
        .unwrap();
    let (shown, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains(&format!("no viewer got a single byte of {url}: connect: Connection refused")),
        "{error}"
    );
    assert!(
        shown.lines().any(|line| line.starts_with("| viewers at the end") && line.contains("0 of 2")),
        "{shown}"
    );
    let report: Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
    assert_eq!(report["streaming"], 0);
}

#[test]
fn what_is_wrong_with_the_command_line_is_said() {
    let server = "give --server COMMAND (for example 'restreamer {config}')";
    for (arguments, said) in [
        ("run --viewers 1", format!("{server} or --reference\n")),
        ("compare --viewers 1", format!("{server}\n")),
        ("table --viewers 1", format!("{server}\n")),
        ("run --reference --server x", "cannot be used with".to_owned()),
        ("source --bitrate 8M", "--http <ADDRESS>".to_owned()),
        ("compare --viewers x", "invalid value 'x'".to_owned()),
        ("viewers ftp://x/", "ftp://x/: neither".to_owned()),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_restreamer-load")).args(arguments.split(' ')).output();
        let output = output.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(&said), "{arguments}: {error}");
    }
}
