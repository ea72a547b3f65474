//! How connections live and end, on pipes with virtual time: slow clients, take-over, shutdown, bad `accept`s.

mod stage;

use std::sync::Arc;
use std::time::Duration;

use restreamer_core::AdmissionLimits;
use restreamer_io::answer::StreamFace;
use restreamer_io::api::Api;
use restreamer_io::route::StreamId;
use restreamer_io::server::Listener;
use stage::pipe::Pipes;
use stage::{Stage, api, read_to_end, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

const CHECK: &str = "GET /check HTTP/1.1\r\nHost: a\r\n\r\n";

fn stage() -> (Pipes, Stage) {
    let (pipes, listener) = Pipes::new();
    let listener = Listener::Tcp(Arc::new(listener));
    let resources = vec![
        stream("/live.ts", 0, StreamFace::default()),
        api("/check", Api::Check(StreamId(0))),
        api("/control", Api::Control(StreamId(0))),
    ];
    let limits = AdmissionLimits::default();
    (pipes.clone(), Stage::open_on(pipes, listener, Pipes::address(), limits, resources))
}

#[tokio::test(start_paused = true)]
async fn a_request_head_has_ten_seconds() {
    let (pipes, stage) = stage();
    let begin = Instant::now();
    let mut silent = pipes.connect();
    let mut crawling = pipes.connect();
    let crawl = async {
        for byte in CHECK.as_bytes() {
            if crawling.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(900)).await;
        }
        read_to_end(&mut crawling).await
    };
    let (silent, crawled) = tokio::join!(read_to_end(&mut silent), crawl);
    assert_eq!((silent.as_str(), crawled.as_str()), ("", ""));
    let elapsed = begin.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(13)).contains(&elapsed), "{elapsed:?}");
    assert_eq!(stage.gate.viewers(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_an_answer_is_given_up() {
    let (pipes, _stage) = stage();
    let mut client = pipes.connect();
    // Its answer is larger than the pipe.
    client.write_all(CHECK.as_bytes()).await.unwrap();
    sleep(Duration::from_secs(25)).await;
    assert_eq!(client.read_u8().await.unwrap(), b'H');
    sleep(Duration::from_secs(40)).await;
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() < 2 * stage::pipe::PIPE_BYTES, "still served: {}", String::from_utf8_lossy(&rest));
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_until_earlier_answers_have_left() {
    let (pipes, _stage) = stage();
    let mut client = pipes.connect();
    client.write_all(CHECK.as_bytes()).await.unwrap();
    client.write_all(b"GET /live.ts HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // The first answer fills the pipe twice over; nobody reads it for a while.
    sleep(Duration::from_secs(5)).await;
    let answers = read_to_end(&mut client).await;
    let (first, second) = answers.split_once("200 ok").expect("the first answer is whole");
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert!(second.starts_with("HTTP/1.1 200 OK\r\n") && second.ends_with("\r\n\r\n[packet]"), "{second}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_sent_whole_although_the_rest_of_the_request_is_not_wanted() {
    let (pipes, _stage) = stage();
    let mut client = pipes.connect();
    client.write_all(b"POST /control?online HTTP/1.1\r\nHost: a\r\nContent-").await.unwrap();
    client.write_all(b"Length: 4\r\n\r\n").await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n") && answer.ends_with("202 accepted"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_take_over_leaves_no_seat_taken() {
    let (pipes, stage) = stage();
    for _ in 0..50 {
        let mut client = pipes.connect();
        client.write_all(b"GET /live.ts HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        drop(client);
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.gate.viewers(), 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_idle_connections_and_lets_answers_finish() {
    let (pipes, stage) = stage();
    let mut idle = pipes.connect();
    let mut fresh = pipes.connect();
    idle.write_all(CHECK.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let mut busy = pipes.connect();
    busy.write_all(CHECK.as_bytes()).await.unwrap();
    while !answer.ends_with(b"200 ok") {
        assert_ne!(idle.read_buf(&mut answer).await.unwrap(), 0);
    }
    stage.shutdown.cancel();
    let begin = Instant::now();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut fresh).await, "");
    assert!(read_to_end(&mut busy).await.ends_with("200 ok"));
    drop((idle, fresh, busy));
    timeout(Duration::from_secs(3), stage.server).await.expect("the server ends").unwrap();
    assert!(begin.elapsed() <= Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn failing_accepts_neither_spin_nor_end_the_server() {
    let (pipes, _stage) = stage();
    for _ in 0..20 {
        pipes.fail(libc::EMFILE);
    }
    for _ in 0..20 {
        pipes.fail(libc::ECONNABORTED);
    }
    let begin = Instant::now();
    let mut client = pipes.connect();
    client.write_all(b"GET /check HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut client).await.ends_with("200 ok"));
    let elapsed = begin.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_millis(2500)).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_client_still_sends_does_not_cut_the_answer_it_gets() {
    let (pipes, _stage) = stage();
    let (mut answers, mut requests) = tokio::io::split(pipes.connect());
    let sending = async {
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(30_000));
        requests.write_all(long.as_bytes()).await
    };
    let (sent, answer) = tokio::join!(sending, read_to_end(&mut answers));
    sent.expect("the server reads on while it says goodbye");
    assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
}
