use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use restreamer_core::CloseKind;

use crate::recorder::{Running, within};

/// A URL that runs `script` in a shell, with arguments.
fn shell(script: &str, arguments: &[&str]) -> String {
    let mut url = "fork://sh?-c".to_owned();
    for argument in [&[script, "sh"], arguments].concat() {
        url.push('+');
        url.extend(utf8_percent_encode(argument, NON_ALPHANUMERIC));
    }
    url
}

/// Waits until process `pid` is gone, not even left for somebody to wait for.
async fn gone(pid: u32) {
    within(async {
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The lines that a source delivers: process numbers.
async fn numbers(running: &mut Running, n: usize) -> Vec<u32> {
    let mut text = Vec::new();
    while text.iter().filter(|&&byte| byte == b'\n').count() < n {
        text.extend(running.chunk().await);
    }
    String::from_utf8(text).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_space_in_an_argument_is_a_space_in_that_argument() {
    let script = r#"printf '%s|' "$#" "$@""#;
    let (bytes, cause) = Running::start(&shell(script, &["a b", "c+d", "", "%41"])).end().await;
    assert_eq!(String::from_utf8(bytes).unwrap(), "4|a b|c+d||%41|");
    assert_eq!(cause.kind, CloseKind::Ended);
    assert_eq!(cause.to_string(), "the command exited with status 0");
}

#[tokio::test]
async fn an_absolute_path_with_an_escape_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my command");
    std::os::unix::fs::symlink("/bin/echo", &path).unwrap();
    let url = format!("fork://{}/my%20command?G", folder.path().display());
    assert_eq!(Running::start(&url).end().await.0, b"G\n");
}

#[tokio::test]
async fn the_way_it_ended_is_told() {
    for (script, told) in [
        ("printf G; exit 3", "the command exited with status 3"),
        ("printf G; kill -9 $$", "the command was ended by signal 9"),
        ("printf G; exec >&-; sleep 0.05; exit 4", "the command exited with status 4"),
    ] {
        let (bytes, cause) = Running::start(&shell(script, &[])).end().await;
        assert_eq!((&bytes[..], &*cause.to_string()), (&b"G"[..], told));
    }
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named() {
    let cause = Running::start("fork:///no/such/command").end().await.1;
    assert_eq!(cause.kind, CloseKind::Unreachable);
    assert!(cause.detail.starts_with("cannot run /no/such/command: "), "{cause}");
    let folder = tempfile::tempdir().unwrap();
    let cause = Running::start(&format!("fork://{}", folder.path().display())).end().await.1;
    assert_eq!(cause.kind, CloseKind::Refused, "{cause}");
}

#[tokio::test]
async fn the_whole_group_goes_with_the_source() {
    let mut running = Running::start(&shell("sleep 1000 & echo $! && echo $$ && exec sleep 1000", &[]));
    let pids = numbers(&mut running, 2).await;
    running.stop().await;
    for pid in pids {
        gone(pid).await;
    }
}

#[tokio::test]
async fn a_command_that_ignores_the_request_to_end_is_killed() {
    let mut running = Running::start(&shell("trap '' TERM; echo $$; while :; do sleep 0.1; done", &[]));
    let pids = numbers(&mut running, 1).await;
    running.stop().await;
    gone(pids[0]).await;
}

#[tokio::test]
async fn a_command_that_cleans_up_when_asked_to_end_gets_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("note");
    // Nothing is run in the foreground: dash loses a signal that comes while it starts a command.
    let script = "trap 'echo done >\"$1\"; exit' TERM; sleep 1000 & echo $$; wait";
    let mut running = Running::start(&shell(script, &[note.to_str().unwrap()]));
    let pids = numbers(&mut running, 1).await;
    running.stop().await;
    gone(pids[0]).await;
    assert_eq!(std::fs::read(&note).unwrap(), b"done\n");
}

#[tokio::test]
async fn what_is_left_of_the_group_ends_when_the_command_does() {
    let mut running = Running::start(&shell("sleep 1000 >&- & echo $!", &[]));
    let pids = numbers(&mut running, 1).await;
    let (_, cause) = running.end().await;
    assert_eq!(cause.to_string(), "the command exited with status 0");
    gone(pids[0]).await;
}

#[tokio::test]
async fn a_flood_of_standard_error_does_not_stop_the_stream() {
    let script = "yes | head -c 3000000 >&2; printf G";
    let (bytes, _) = Running::start(&shell(script, &[])).end().await;
    assert_eq!(bytes, b"G");
}
