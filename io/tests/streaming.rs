//! One stream from a TCP source through the whole engine to HTTP viewers, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use restreamer_core::testing::{Probe, StreamSpec, SyntheticStream};
use restreamer_core::ts::{PACKET_BYTES, Packet};
use restreamer_core::{AdmissionLimits, Order, Policy, RingLimits, StreamConfig, UpstreamConfig};
use restreamer_io::answer::{Framing, StreamFace};
use restreamer_io::api::{Api, Metrics};
use restreamer_io::auth::Access;
use restreamer_io::clock::Clock;
use restreamer_io::engine::{self, Door, Engine, Place};
use restreamer_io::fanout::ViewerConfig;
use restreamer_io::gate::Gate;
use restreamer_io::ingest::{Source, SourceOptions};
use restreamer_io::observe::{EndReason, Observe};
use restreamer_io::registry::{Registry, StreamPlan};
use restreamer_io::route::{Serve, StreamId};
use restreamer_io::service::{Cors, Kind, Parts, Resource, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(60);

/// A server with one stream at `/s.ts`, and the listener that is its source.
struct House {
    address: SocketAddr,
    source: TcpListener,
    engine: Arc<Engine>,
    shutdown: CancellationToken,
    runtimes: std::thread::JoinHandle<()>,
}

impl House {
    async fn open(policy: Policy, stall_timeout: Option<Duration>, face: StreamFace) -> House {
        let source = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("tcp://{}", source.local_addr().unwrap());
        let plan = StreamPlan {
            sources: Arc::new([Source::parse(&url, &SourceOptions::default()).unwrap()]),
            config: StreamConfig {
                upstream: UpstreamConfig {
                    sources: 1,
                    order: Order::Shuffle,
                    reconnect: Some(Duration::from_millis(50)),
                    read_timeout: None,
                },
                grace: Duration::from_secs(15),
                latency: Duration::from_millis(20),
            },
            ring: RingLimits { bytes_max: 4 << 20, ..RingLimits::default() },
            viewers: ViewerConfig { policy, stall_timeout, send_buffer: Some(128 << 10) },
            seed: 1,
        };
        let clock = Clock::start();
        let observe = Observe::new([("/s.ts", [url])]);
        let (registry, orders) = Registry::new(clock, vec![plan]);
        let resource = |path: &str, kind| Resource {
            serve: Serve::parse(path).unwrap(),
            access: Access::default(),
            cors: Cors::default(),
            headers: HeaderMap::new(),
            kind,
        };
        let service = Service::new(Parts {
            resources: vec![
                resource("/s.ts", Kind::Stream(StreamId(0), face)),
                resource("/control", Kind::Api(Api::Control(StreamId(0)))),
            ],
            channels: registry.clone(),
            gate: Gate::new(AdmissionLimits::default(), observe.clone(), Box::new(|_| ())),
            observe: observe.clone(),
            metrics: Metrics {
                content_type: HeaderValue::from_static("text/plain"),
                render: Arc::new(Vec::new),
            },
            wall: std::time::SystemTime::now,
        })
        .unwrap();
        let engine = Engine::new(clock, registry, orders, observe, service);
        let shutdown = CancellationToken::new();
        let (tell, told) = mpsc::channel();
        let runtimes = std::thread::spawn({
            let (engine, shutdown) = (engine.clone(), shutdown.clone());
            move || {
                let place = Place::Tcp("127.0.0.1:0".parse().unwrap());
                let listening = |doors: &[Door]| match doors[0].place {
                    Place::Tcp(address) => tell.send(address).unwrap(),
                    _ => unreachable!("the door that was asked for"),
                };
                engine::run(&engine, 2, vec![Door { place, identity: None }], &shutdown, listening).unwrap();
            }
        });
        House { address: told.recv().unwrap(), source, engine, shutdown, runtimes }
    }

    /// Starts to play a synthetic stream in real time to whoever connects.
    async fn play(&self, seed: u64, bitrate: u64) -> tokio::task::JoinHandle<()> {
        let (mut socket, _) = self.source.accept().await.unwrap();
        tokio::spawn(async move {
            let mut stream = SyntheticStream::new(StreamSpec::new(seed, bitrate));
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            let packets = (bitrate / 8 / 100) as usize / PACKET_BYTES + 1;
            loop {
                ticks.tick().await;
                if socket.write_all(&stream.take_bytes(packets)).await.is_err() {
                    break;
                }
            }
        })
    }

    async fn join(&self, version: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(format!("GET /s.ts {version}\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        socket
    }

    /// Joins as soon as the stream can be watched.
    async fn join_when_live(&self, version: &str) -> (TcpStream, String) {
        loop {
            let mut socket = self.join(version).await;
            let head = read_head(&mut socket).await;
            if head.contains(" 200 ") {
                return (socket, head);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn ended(&self, reason: EndReason) -> u64 {
        self.engine.observe.stream(StreamId(0)).ended(reason).now()
    }

    async fn close(self) {
        self.shutdown.cancel();
        tokio::task::spawn_blocking(|| self.runtimes.join().unwrap()).await.unwrap();
    }
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn read_packets(socket: &mut TcpStream, packets: usize) -> Vec<u8> {
    let mut bytes = vec![0; packets * PACKET_BYTES];
    tokio::time::timeout(DEADLINE, socket.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// Tables, then an access point, then the stream without a gap.
fn assert_clean(bytes: &[u8]) {
    let packets: Vec<_> = Packet::all(bytes).collect();
    assert!(packets.iter().all(Packet::sync_ok), "aligned");
    assert_eq!(packets[0].pid().value(), 0, "PAT first");
    let access =
        packets.iter().position(|packet| packet.adaptation().is_some_and(|field| field.random_access()));
    assert!(access.is_some_and(|access| access <= 4), "access point behind the tables: {access:?}");
    let mut probe = Probe::new();
    packets[access.unwrap()..].iter().for_each(|packet| probe.observe(0, packet.bytes()));
    assert!(probe.is_clean(), "{probe:?}");
}

#[tokio::test]
async fn every_viewer_gets_tables_an_access_point_and_the_whole_stream_from_there() {
    let house = House::open(Policy::default(), None, StreamFace::default()).await;
    let _source = house.play(1, 8_000_000).await;
    let (first, head) = house.join_when_live("HTTP/1.1").await;
    assert!(head.contains("video/mpeg"), "{head}");
    let mut viewers = vec![first];
    for _ in 0..19 {
        viewers.push(house.join_when_live("HTTP/1.1").await.0);
    }
    for viewer in &mut viewers {
        assert_clean(&read_packets(viewer, 10_000).await);
    }
    drop(viewers);
    house.close().await;
}

#[tokio::test]
async fn a_chunked_body_is_the_same_stream() {
    let face = StreamFace {
        framing: Framing::Chunked,
        preamble: Bytes::from_static(b"hello"),
        ..Default::default()
    };
    let house = House::open(Policy::default(), None, face).await;
    let _source = house.play(2, 4_000_000).await;
    let (mut viewer, head) = house.join_when_live("HTTP/1.1").await;
    assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
    let mut body = Vec::new();
    while body.len() < 5 + 3_000 * PACKET_BYTES {
        let mut line = String::new();
        while !line.ends_with("\r\n") {
            line.push(char::from(viewer.read_u8().await.unwrap()));
        }
        let mut chunk = vec![0; usize::from_str_radix(line.trim(), 16).unwrap() + 2];
        viewer.read_exact(&mut chunk).await.unwrap();
        body.extend_from_slice(&chunk[..chunk.len() - 2]);
    }
    assert_eq!(&body[..5], b"hello");
    let whole = (body.len() - 5) / PACKET_BYTES * PACKET_BYTES;
    assert_clean(&body[5..5 + whole]);
    house.close().await;
}

#[tokio::test]
async fn a_viewer_that_takes_nothing_is_disconnected_and_the_others_lose_nothing() {
    let house = House::open(Policy::default(), Some(Duration::from_secs(1)), StreamFace::default()).await;
    let _source = house.play(3, 40_000_000).await;
    let (mut reading, _) = house.join_when_live("HTTP/1.0").await;
    let (stuck, _) = house.join_when_live("HTTP/1.0").await;
    let read = async { assert_clean(&read_packets(&mut reading, 200_000).await) };
    let stalled = async {
        while house.ended(EndReason::Stalled) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, async { tokio::join!(read, stalled) }).await.unwrap();
    drop(stuck);
    house.close().await;
}

#[tokio::test]
async fn a_viewer_that_goes_is_noticed_while_no_data_flows() {
    let house = House::open(Policy::default(), None, StreamFace::default()).await;
    let source = house.play(4, 4_000_000).await;
    let (viewer, _) = house.join_when_live("HTTP/1.1").await;
    source.abort();
    drop(viewer);
    let gone = async {
        while house.ended(EndReason::ClientLeft) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
    house.close().await;
}

#[tokio::test]
async fn viewers_survive_the_loss_of_the_source_and_go_on_at_an_access_point() {
    let house = House::open(Policy::default(), None, StreamFace::default()).await;
    let source = house.play(5, 4_000_000).await;
    let (mut viewer, _) = house.join_when_live("HTTP/1.1").await;
    let before = read_packets(&mut viewer, 500).await;
    assert_clean(&before);
    source.abort();
    let _source = house.play(6, 4_000_000).await;
    let after = read_packets(&mut viewer, 8_000).await;
    let packets: Vec<_> = Packet::all(&after).collect();
    assert!(packets.iter().all(Packet::sync_ok));
    let seam =
        packets.iter().position(|packet| packet.adaptation().is_some_and(|field| field.discontinuity()));
    let seam = seam.expect("the jump is announced");
    assert_eq!(packets[seam + 1].pid().value(), 0, "tables behind the announcement");
    house.close().await;
}

#[tokio::test]
async fn offline_ends_every_viewer_at_a_packet_boundary_and_refuses_new_ones() {
    let house = House::open(Policy::default(), None, StreamFace::default()).await;
    let _source = house.play(7, 4_000_000).await;
    let (mut viewer, _) = house.join_when_live("HTTP/1.1").await;
    read_packets(&mut viewer, 100).await;
    let mut control = TcpStream::connect(house.address).await.unwrap();
    control.write_all(b"GET /control?offline HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(read_head(&mut control).await.contains("202"));
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, viewer.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest.len() % PACKET_BYTES, 0);
    let mut refused = house.join("HTTP/1.1").await;
    assert!(read_head(&mut refused).await.contains("404"));
    assert_eq!(house.engine.observe.stream(StreamId(0)).connections.now(), 0);
    house.close().await;
}

#[tokio::test]
async fn a_shutdown_ends_responses_at_a_packet_boundary() {
    let house = House::open(Policy::default(), None, StreamFace::default()).await;
    let _source = house.play(8, 4_000_000).await;
    let (mut viewer, _) = house.join_when_live("HTTP/1.1").await;
    read_packets(&mut viewer, 100).await;
    house.shutdown.cancel();
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, viewer.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest.len() % PACKET_BYTES, 0);
    assert_eq!(house.ended(EndReason::Shutdown), 1);
    house.close().await;
}
