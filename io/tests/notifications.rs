//! Notifications against scripted servers: what is sent, in which order, and who waits for whom.

mod stage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use restreamer_core::AdmissionLimits;
use restreamer_core::stream::Availability;
use restreamer_io::auth::Credentials;
use restreamer_io::client::{ClientOptions, Target};
use restreamer_io::gate::{Gate, Peer};
use restreamer_io::net::TokioNet;
use restreamer_io::notify::{Event, Notification, Notifier, WAITING_MAX};
use restreamer_io::observe::Observe;
use restreamer_io::route::StreamId;
use stage::origin::{Origin, Reply};
use stage::until;

fn notification(event: Event, url: &str) -> Notification {
    Notification { event, target: Target::parse(url).unwrap(), authorization: None }
}

fn run(notifications: Vec<Notification>, heartbeat: Option<Duration>) -> Arc<Notifier> {
    let notifier = Notifier::new(notifications);
    tokio::spawn(Arc::clone(&notifier).run(TokioNet, ClientOptions::default(), heartbeat));
    notifier
}

fn no_content(_: &str, _: usize) -> Reply {
    Reply::text("HTTP/1.1 204 No Content\r\n\r\n")
}

#[tokio::test]
async fn events_reach_a_server_in_their_order_with_credentials() {
    let origin = Origin::start(no_content).await;
    let alice = Credentials::new("alice", "secret");
    let mut hit = notification(Event::LimitHit, &origin.url("/full?yes"));
    hit.authorization = Some(alice.to_basic());
    let mut miss = notification(Event::LimitMiss, &origin.url("/free"));
    miss.authorization = alice.to_bearer();
    let notifier = run(vec![hit, miss, notification(Event::LimitHit, &origin.url("/again"))], None);
    for event in [Event::LimitHit, Event::LimitMiss, Event::LimitHit, Event::Heartbeat] {
        notifier.tell(event);
    }
    until("all have arrived", || origin.requests().len() == 5).await;
    assert_eq!(origin.lines(), ["GET /full?yes", "GET /again", "GET /free", "GET /full?yes", "GET /again"]);
    let header = |index: usize| {
        let requests = origin.requests();
        let line =
            requests[index].lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
        line.map(|line| line.split_once(": ").unwrap().1.to_owned())
    };
    assert_eq!(header(0).as_deref(), Some("Basic YWxpY2U6c2VjcmV0"));
    assert_eq!(header(1), None);
    assert_eq!(header(2).as_deref(), Some("Bearer secret"));
}

#[tokio::test]
async fn a_server_that_never_answers_delays_nobody_and_memory_is_bounded() {
    let silent = Origin::start(|_, _| Reply::Silence).await;
    let failing = Origin::start(|_, _| Reply::text("HTTP/1.1 500 Oops\r\n\r\n")).await;
    let origin = Origin::start(no_content).await;
    let notifier = run(
        vec![
            notification(Event::LimitHit, &silent.url("/hit")),
            notification(Event::LimitMiss, &silent.url("/miss")),
            notification(Event::LimitHit, &failing.url("/hit")),
            notification(Event::LimitMiss, &failing.url("/miss")),
            notification(Event::LimitMiss, &origin.url("/miss")),
        ],
        None,
    );
    let observe = Observe::new([("/a.ts", ["tcp://a:1"])]);
    let gate = Gate::new(AdmissionLimits { soft: 1, ..Default::default() }, observe, notifier.on_limit());
    let begin = Instant::now();
    const TIMES: usize = 1000;
    for _ in 0..TIMES {
        drop(gate.enter(StreamId(0), Availability::Live, Peer::Local).unwrap());
        tokio::task::yield_now().await;
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "viewers waited {:?}", begin.elapsed());
    until("the silent server was asked", || silent.requests().len() == 1).await;
    until("the others keep up", || {
        let dropped = notifier.dropped() as usize;
        let delivered = failing.requests().len() + origin.requests().len();
        // One is under way to the silent server, and its queue is full.
        delivered + dropped + 1 + WAITING_MAX == 5 * TIMES
    })
    .await;
    assert!(failing.requests().len() > 1 && origin.lines().iter().all(|line| line == "GET /miss"));
}

#[tokio::test]
async fn heartbeats_come_at_their_interval_and_not_at_once() {
    let origin = Origin::start(no_content).await;
    let interval = Duration::from_millis(100);
    let begin = Instant::now();
    let heartbeats = ["/alive", "/also"].map(|path| notification(Event::Heartbeat, &origin.url(path)));
    let _notifier = run(heartbeats.into(), Some(interval));
    until("three have arrived", || origin.requests().len() == 6).await;
    assert!(begin.elapsed() >= 3 * interval, "after {:?}", begin.elapsed());
    assert_eq!(origin.lines()[..4], ["GET /alive", "GET /also", "GET /alive", "GET /also"]);
}

#[tokio::test]
async fn without_an_interval_there_is_no_heartbeat() {
    let origin = Origin::start(no_content).await;
    let heartbeat = notification(Event::Heartbeat, &origin.url("/alive"));
    for interval in [None, Some(Duration::ZERO)] {
        let notifier = Notifier::new([heartbeat.clone()]);
        assert!(notifier.wants(Event::Heartbeat) && !notifier.wants(Event::LimitHit));
        let running = notifier.run(TokioNet, ClientOptions::default(), interval);
        tokio::time::timeout(Duration::from_millis(50), running).await.unwrap_err();
    }
    assert_eq!(origin.lines(), [""; 0]);
}
