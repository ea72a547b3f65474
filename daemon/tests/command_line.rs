//! The command as an operator meets it, without a server behind it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn restreamer(directory: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_restreamer")).args(args).current_dir(directory).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn without_a_configuration_it_names_the_demonstration() {
    let dir = tempfile::tempdir().unwrap();
    let output = restreamer(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("restreamer: there is no restreamer.json in "),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("restreamer --demo"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("panicked"));
}

#[test]
fn a_named_file_that_is_missing_is_called_so() {
    let dir = tempfile::tempdir().unwrap();
    let output = restreamer(dir.path(), &["etc/x.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "etc/x.json: there is no such file\n");
}

#[test]
fn a_wrong_configuration_is_told_in_full_and_nothing_starts() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{ "lisen": ":1", "timeout": -1, "resources": [
        { "type": "stream", "serve": "/a", "remote": "http://anna:hunter2@:1/" }
    ] }"#;
    fs::write(dir.path().join("restreamer.json"), text).unwrap();
    let expected = "\
restreamer.json: warning: lisen: did you mean listen? (unknown key, ignored)
restreamer.json: timeout: -1 is negative; 0 is the least
restreamer.json: resources[0].remote: no host: write scheme://host:port
restreamer.json: 2 errors
";
    for args in [&[][..], &["--check"], &["restreamer.json"]] {
        let output = restreamer(dir.path(), args);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stdout(&output), "");
        assert_eq!(stderr(&output), expected);
    }
}

#[test]
fn a_file_that_is_no_json_is_pointed_into() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.json"), "{\n  \"listen\": ':80'\n}").unwrap();
    let output = restreamer(dir.path(), &["--check", "x.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "x.json: line 2, column 13: expected value\n");
}

#[test]
fn a_check_tells_what_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("restreamer.json"), "{ \"listen\": \":1\", \"Color\": 3 }").unwrap();
    let output = restreamer(dir.path(), &["--check", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("restreamer.json: no errors, 2 warnings\n"), "{text}");
    assert!(text.contains("\n  listen           127.0.0.1:0\n"), "{text}");
    assert!(!text.contains(":1\n"), "{text}");
}

#[test]
fn the_demonstration_can_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let output = restreamer(dir.path(), &["--demo", "--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("\n/demo.ts (stream)\n"), "{}", stdout(&output));
}

#[test]
fn help_version_completions_and_manual_come_without_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let version = concat!("restreamer ", env!("CARGO_PKG_VERSION"), "\n");
    let table = [
        (&["--help"][..], "SIGUSR1"),
        (&["-h"], "--demo"),
        (&["--version"], version),
        (&["--completions", "bash"], "--listen"),
        (&["--completions", "zsh"], "#compdef restreamer"),
        (&["--man"], ".TH restreamer"),
    ];
    for (args, part) in table {
        let output = restreamer(dir.path(), args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(stdout(&output).contains(part), "{args:?}: {}", stdout(&output));
    }
}

#[test]
fn a_wrong_command_line_is_status_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["--lisen", ":1"][..], &["--listen", "8000"], &["--demo", "x.json"], &["a", "b"]] {
        assert_eq!(restreamer(dir.path(), args).status.code(), Some(2), "{args:?}");
    }
}
