//! The program as people and CI systems use it: exit codes, files, messages.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The least that `compare` can be asked.
const SHORT_COMPARE: [&str; 7] = ["compare", "--minutes", "1", "--viewers", "1", "--gops", "50"];

fn run(folder: &Path, arguments: &[&str]) -> Output {
    program(folder, arguments).output().unwrap()
}

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_restreamer-sim"));
    program.args(arguments).current_dir(folder);
    program
}

/// The configuration and the audience of `sim/examples`.
fn write_examples(folder: &Path) {
    std::fs::write(folder.join("a.json"), include_str!("../examples/restreamer.json")).unwrap();
    std::fs::write(folder.join("b.json"), include_str!("../examples/audience.json")).unwrap();
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn a_swarm_that_keeps_every_promise_exits_0_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["swarm", "--seeds", "0..4", "--junit", "a.xml", "--json", "a.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("4 seeds, 0 broke a promise"), "{}", stdout(&output));
    let junit = std::fs::read_to_string(folder.path().join("a.xml")).unwrap();
    assert!(junit.contains("failures=\"0\"") && junit.contains("name=\"fair\""), "{junit}");
    let report = json(&folder.path().join("a.json"));
    assert_eq!((&report["seeds"], &report["failures"]), (&4.into(), &Value::Array(Vec::new())));
    assert!(report["marks"].as_array().unwrap().iter().any(|mark| mark["seeds"] == 4));
    assert!(!folder.path().join("failures").exists(), "nothing failed");
}

#[test]
fn marks_that_were_not_reached_fail_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["swarm", "--seeds", "0..1", "--all-marks"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("    never: "), "{}", stdout(&output));
    assert!(
        stdout(&run(folder.path(), &["swarm", "--seeds", "0..1"])).contains("--all-marks lists the others")
    );
}

#[test]
fn a_failure_becomes_a_file_that_replays() {
    let folder = tempfile::tempdir().unwrap();
    let planted = ["swarm", "--seeds", "0..50", "--mutation", "wrong_count", "--failures-max", "1"];
    let output = run(folder.path(), &[&planted[..], &["--junit", "a.xml", "--jobs", "1"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).contains("seed 0: counted"), "{}", stdout(&output));
    let junit = std::fs::read_to_string(folder.path().join("a.xml")).unwrap();
    assert!(junit.contains("name=\"counted\"><failure"), "{junit}");

    let file = folder.path().join("failures/seed-0.json");
    let replayed = run(folder.path(), &["replay", "failures/seed-0.json"]);
    assert_eq!(replayed.status.code(), Some(1));
    let text = stdout(&replayed);
    assert!(text.contains("the promise is broken as it was") && text.contains("joins"), "{text}");

    // Without the defect, the same plan keeps every promise.
    let plan = run(folder.path(), &["replay", "--plan", "failures/seed-0.json"]);
    std::fs::write(folder.path().join("plan.json"), &plan.stdout).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&plan.stdout).unwrap(), json(&file)["plan"]);
    let healthy = run(folder.path(), &["replay", "--brief", "plan.json"]);
    assert_eq!(healthy.status.code(), Some(0), "{}", stdout(&healthy));
}

#[test]
fn a_journal_of_the_daemon_replays() {
    let folder = tempfile::tempdir().unwrap();
    let journal = concat!(
        r#"{"events_of":"restreamer","form":1,"dropped":0,"streams":[{"sources":1,"reconnect_ms":1000,"#,
        r#""read_timeout_ms":null,"grace_ms":15000,"latency_ms":20,"stall_limit_ms":30000,"#,
        r#""ring":{"packets_min":1000,"span_min_ms":5000,"bytes_max":4000000},"#,
        r#""policy":{"join":"keyframe","slow":"keyframe","lag_max_ms":null,"lag_packets_min":400}}]}"#,
        "\n",
        r#"{"us":0,"stream":0,"event":"connected","source":0}"#,
        "\n",
        r#"{"us":3000000,"stream":0,"event":"joined","viewer":7}"#,
        "\n",
        r#"{"us":9000000,"stream":0,"event":"left","viewer":7,"bytes":1,"skipped_packets":0,"reason":"client_left"}"#,
    );
    std::fs::write(folder.path().join("events.jsonl"), journal).unwrap();
    let output = run(folder.path(), &["replay", "events.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains("viewer 7"), "{}", stdout(&output));
}

#[test]
fn who_reads_nothing_gets_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    write_examples(folder.path());
    for arguments in [
        &SHORT_COMPARE[..],
        &["tree", "steady", "--edges", "3", "--viewers", "10", "--seconds", "24"],
        &["load", "a.json", "b.json"],
        &["tier2", "--seed", "1", "--trace"],
        &["tier2", "--seed", "1", "--plan"],
        &["tier2", "--seeds", "0..1"],
        &["run", "calm", "--plan"],
    ] {
        let mut child =
            program(folder.path(), arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn hashes_are_the_same_in_two_processes() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["meta", "--seeds", "0..4"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let hashes = run(folder.path(), &["meta", "--seeds", "0..4", "--hashes"]);
    assert_eq!(stdout(&hashes).lines().count(), 4);
}

#[test]
fn what_cannot_be_tried_says_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("no.json"), "{\"name\": 3}").unwrap();
    write_examples(folder.path());
    for (arguments, message) in [
        (&["replay", "nothing.json"][..], "cannot read nothing.json"),
        (&["replay", "no.json"], "no.json: not a failure that `swarm` wrote"),
        (&["replay"], "Usage"),
        (&["run", "nowhere"], "there is no scenario nowhere"),
        (&["swarm", "--seeds", "9..3"], "the smaller one first"),
        (&["swarm", "--for", "1d"], "60s, 10m or 8h"),
        (&["swarm", "--jobs", "0"], "0 is not in 1.."),
        (&["tier2", "--jobs", "0"], "0 is not in 1.."),
        (&["compare", "--kbps", "0"], "0 is not in 400..=1000000"),
        (&["compare", "--viewers", "0"], "0 is not in 1.."),
        (&["compare", "--minutes", "0"], "0 is not in 1.."),
        (&["compare", "--gops", "50,0"], "0 is not in 1..=15000"),
        (&["tree", "--kbps", "399"], "399 is not in 400..=1000000"),
        (&["tree", "--edges", "0"], "0 is not in 1.."),
        (&["tree", "--viewers", "0"], "0 is not in 1.."),
        (&["tree", "--gop", "0"], "0 is not in 1..=15000"),
        (&["tree", "--seconds", "0"], "0 is not in 1.."),
        (&["tree", "steady", "--seconds", "23"], "--seconds 23: 24 at least, in which everybody comes"),
        (
            &["tree", "crash", "--seconds", "5"],
            "--seconds 5: 48 at least, in which a tenth of the edges crash",
        ),
        (&["tree", "kickoff", "--seconds", "20"], "--seconds 20: 21 at least, in which nine of ten people"),
        (&["tree", "--seconds", "24"], "--seconds 24: 48 at least"),
        (&["swarm", "--seeds", "0..1", "--json", "no/where.json"], "cannot write no/where.json"),
        (&["swarm", "--seeds", "0..1", "--junit", "no/where.xml"], "cannot write no/where.xml"),
        (&[&SHORT_COMPARE[..], &["--html", "no/where.html"]].concat(), "cannot write no/where.html"),
        (&[&SHORT_COMPARE[..], &["--json", "no/where.json"]].concat(), "cannot write no/where.json"),
        (
            &["tree", "--edges", "3", "--viewers", "10", "--html", "no/where.html"],
            "cannot write no/where.html",
        ),
        (
            &["tree", "--edges", "3", "--viewers", "10", "--json", "no/where.json"],
            "cannot write no/where.json",
        ),
        (&["load", "a.json", "b.json", "--html", "no/where.html"], "cannot write no/where.html"),
        (&["load", "a.json", "b.json", "--json", "no/where.json"], "cannot write no/where.json"),
        (&["meta", "--seeds", "0..1", "--against", "./missing"], "cannot start ./missing"),
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(message), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}: nothing was run");
    }
}
