//! The host of the proxy: the daemon's engine with one worker, on the simulated network.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use restreamer_core::{AdmissionLimits, Order, Policy, RingLimits, StreamConfig, UpstreamConfig};
use restreamer_io::answer::{Framing, StreamFace};
use restreamer_io::api::Metrics;
use restreamer_io::auth::Access;
use restreamer_io::clock::Clock;
use restreamer_io::engine::{Engine, Share};
use restreamer_io::fanout::ViewerConfig;
use restreamer_io::gate::Gate;
use restreamer_io::ingest::{Source, SourceOptions};
use restreamer_io::net::{ListenOptions, Net};
use restreamer_io::observe::Observe;
use restreamer_io::placement::Placement;
use restreamer_io::registry::{Registry, StreamPlan};
use restreamer_io::route::{Serve, StreamId};
use restreamer_io::server::Listener;
use restreamer_io::service::{Cors, Kind, Parts, Resource, Service};
use tokio_util::sync::CancellationToken;

use super::net::SimNet;
use super::plan::Plan;
use super::source::SOURCE_PORT;
use super::stage::{Incarnation, Stage, now};

/// Where the proxy listens.
pub(super) const PROXY_PORT: u16 = 80;
/// The one stream.
pub(super) const STREAM: StreamId = StreamId(0);
/// Its serve path.
pub(super) const PATH: &str = "/s.ts";
/// Limit for connecting to a source, and for its answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the engine until it is shut down, or the host crashes.
pub(super) async fn host(stage: Rc<RefCell<Stage>>, plan: Rc<Plan>) -> turmoil::Result {
    let lives = stage.borrow().sessions.len() as u64;
    let net = SimNet::new(plan.seed ^ lives << 8, plan.network.is_rough);
    let listener = net.listen(([0, 0, 0, 0], PROXY_PORT).into(), ListenOptions::default()).await?;
    let (engine, gate) = build(&plan);
    let shutdown = CancellationToken::new();
    stage.borrow_mut().proxy = Some(Incarnation {
        engine: Arc::clone(&engine),
        gate,
        shutdown: shutdown.clone(),
        net: net.clone(),
        since: now(),
        is_ending: false,
        has_ended: false,
    });
    let share = Share { worker: 0, of: 1 };
    engine.work(net, share, vec![Listener::Tcp(listener)], Placement::new(share.of), shutdown).await;
    if let Some(proxy) = &mut stage.borrow_mut().proxy {
        proxy.has_ended = true;
    }
    Ok(())
}

fn build(plan: &Plan) -> (Arc<Engine>, Arc<Gate>) {
    let clock = Clock::start();
    let urls: Vec<String> = (0..plan.sources.len())
        .map(|source| match plan.sources[source].is_http {
            true => format!("http://source-{source}:{SOURCE_PORT}/"),
            false => format!("tcp://source-{source}:{SOURCE_PORT}"),
        })
        .collect();
    let observe = Observe::new([(PATH, urls.clone())]);
    let (registry, orders) = Registry::new(clock, vec![stream(plan, &urls)]);
    let limits = AdmissionLimits { hard: plan.proxy.viewers_max, ..AdmissionLimits::default() };
    let gate = Gate::new(limits, Arc::clone(&observe), Box::new(|_| ()));
    let face = StreamFace {
        framing: if plan.proxy.is_chunked { Framing::Chunked } else { Framing::Close },
        preamble: preamble(plan),
        ..StreamFace::default()
    };
    let resource = Resource {
        serve: Serve::parse(PATH).expect("the path is a valid one"),
        access: Access::open(),
        cors: Cors::SameOrigin,
        headers: HeaderMap::new(),
        kind: Kind::Stream(STREAM, face),
    };
    let service = Service::new(Parts {
        resources: vec![resource],
        channels: registry.clone(),
        gate: Arc::clone(&gate),
        observe: Arc::clone(&observe),
        metrics: Metrics { content_type: HeaderValue::from_static("text/plain"), render: Arc::new(Vec::new) },
        wall: || SystemTime::UNIX_EPOCH,
    });
    let service = service.expect("one resource cannot be a duplicate");
    (Engine::new(clock, registry, orders, observe, service), gate)
}

fn stream(plan: &Plan, urls: &[String]) -> StreamPlan {
    let proxy = &plan.proxy;
    let millis = Duration::from_millis;
    let options = SourceOptions { connect_timeout: Some(CONNECT_TIMEOUT), ..SourceOptions::default() };
    let sources = urls.iter().map(|url| Source::parse(url, &options).expect("the URL is a valid one"));
    StreamPlan {
        sources: sources.collect(),
        config: StreamConfig {
            upstream: UpstreamConfig {
                sources: urls.len(),
                order: if proxy.prefers_first { Order::Priority } else { Order::Shuffle },
                reconnect: Some(millis(proxy.reconnect_ms)),
                read_timeout: Some(millis(proxy.read_timeout_ms)),
            },
            grace: millis(proxy.grace_ms),
            latency: millis(proxy.latency_ms),
        },
        ring: RingLimits { bytes_max: proxy.ring_bytes_max, ..RingLimits::default() },
        viewers: ViewerConfig {
            policy: Policy {
                join: proxy.join(),
                slow: proxy.slow(),
                lag_max: proxy.lag_max_ms.map(millis),
                lag_packets_min: proxy.lag_packets_min,
            },
            stall_timeout: Some(millis(proxy.stall_ms)),
            send_buffer: None,
        },
        seed: plan.seed,
    }
}

/// The null packets that every viewer gets first.
pub(super) fn preamble(plan: &Plan) -> Bytes {
    let mut packet = [0xFF; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1F, 0xFF, 0x10]);
    Bytes::from(packet.repeat(plan.proxy.preamble_packets))
}
