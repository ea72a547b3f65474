//! A server on loopback whose streams are scripted: what the HTTP tests stand on.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod origin;
pub(crate) mod pipe;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use restreamer_core::admission::{AdmissionLimits, LimitEvent};
use restreamer_core::stream::{Availability, Operator};
use restreamer_io::answer::{Framing, StreamFace};
use restreamer_io::api::{Api, Metrics};
use restreamer_io::auth::Access;
use restreamer_io::gate::{Channels, Gate};
use restreamer_io::net::{ListenOptions, Net, TokioNet};
use restreamer_io::observe::Observe;
use restreamer_io::route::{Serve, StreamId};
use restreamer_io::server::{Handover, Listener, NewViewer, serve};
use restreamer_io::service::{Cors, Kind, Parts, Resource, Service};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing on loopback takes this long; a test that waits so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What the fake fan-out sends as the live part of every stream.
pub(crate) const PACKET: [u8; 188] = {
    let mut packet = [0x55; 188];
    packet[0] = 0x47;
    packet
};

/// The streams, as the test says they are.
#[derive(Default)]
pub(crate) struct FakeChannels {
    pub(crate) availability: Mutex<Vec<Availability>>,
    pub(crate) silent: Mutex<bool>,
    pub(crate) orders: Mutex<Vec<(StreamId, Operator)>>,
}

impl Channels for FakeChannels {
    fn availability(&self, stream: StreamId) -> Availability {
        self.availability.lock().unwrap()[stream.0 as usize]
    }

    fn connected_within(&self, stream: StreamId, _: Duration) -> bool {
        self.availability(stream) == Availability::Live && !*self.silent.lock().unwrap()
    }

    fn operator(&self, stream: StreamId, order: Operator) {
        self.orders.lock().unwrap().push((stream, order));
        self.availability.lock().unwrap()[stream.0 as usize] = match order {
            Operator::Online => Availability::Live,
            Operator::Offline => Availability::Offline,
        };
    }
}

/// A fan-out that sends the head, the preamble and one packet, and then ends, or holds, the response.
#[derive(Default)]
pub(crate) struct FakeFanout {
    pub(crate) holds: Mutex<bool>,
    pub(crate) held: Mutex<Vec<Box<dyn std::any::Any + Send>>>,
    pub(crate) agents: Mutex<Vec<String>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Handover<S> for FakeFanout {
    fn take(&self, _: StreamId, viewer: NewViewer<S>) {
        self.agents.lock().unwrap().push(viewer.visitor.user_agent.to_string());
        if *self.holds.lock().unwrap() {
            self.held.lock().unwrap().push(Box::new(viewer));
            return;
        }
        let NewViewer { mut io, head, preamble, framing, seat, .. } = viewer;
        tokio::spawn(async move {
            io.write_all(&head).await?;
            for part in [preamble, Bytes::from_static(&PACKET)].iter().filter(|part| !part.is_empty()) {
                if framing == Framing::Chunked {
                    io.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await?;
                }
                io.write_all(part).await?;
                if framing == Framing::Chunked {
                    io.write_all(b"\r\n").await?;
                }
            }
            if framing == Framing::Chunked {
                io.write_all(b"0\r\n\r\n").await?;
            }
            io.shutdown().await?;
            tokio::io::copy(&mut io, &mut tokio::io::sink()).await?;
            drop(seat);
            std::io::Result::Ok(())
        });
    }
}

/// A running server and everything behind it.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    pub(crate) channels: Arc<FakeChannels>,
    pub(crate) fanout: Arc<FakeFanout>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) observe: Arc<Observe>,
    pub(crate) limit_events: Arc<Mutex<Vec<LimitEvent>>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<()>,
}

impl Stage {
    /// Starts a server with these resources on loopback; streams 0 and 1 are live, 2 was never connected.
    pub(crate) async fn open(limits: AdmissionLimits, resources: Vec<Resource>) -> Stage {
        let listener = TokioNet.listen(([127, 0, 0, 1], 0).into(), ListenOptions::default()).await.unwrap();
        let address = TokioNet.local_addr(&listener).unwrap();
        Self::open_on(TokioNet, Listener::Tcp(listener), address, limits, resources)
    }

    /// The same on any listener.
    pub(crate) fn open_on<N: Net>(
        net: N,
        listener: Listener<N>,
        address: SocketAddr,
        limits: AdmissionLimits,
        resources: Vec<Resource>,
    ) -> Stage {
        let channels = Arc::new(FakeChannels {
            availability: Mutex::new(vec![Availability::Live, Availability::Live, Availability::Never]),
            ..Default::default()
        });
        let observe = Observe::new(
            ["/live.ts", "/other.ts", "/never.ts"].map(|label| (label, ["tcp://upstream.example:1"])),
        );
        let limit_events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&limit_events);
        let on_limit = Box::new(move |event| heard.lock().unwrap().push(event));
        let gate = Gate::new(limits, Arc::clone(&observe), on_limit);
        let service = Service::new(Parts {
            resources,
            channels: channels.clone(),
            gate: Arc::clone(&gate),
            observe: Arc::clone(&observe),
            metrics: Metrics {
                content_type: HeaderValue::from_static("text/plain; version=0.0.4"),
                render: Arc::new(|| b"streaming_connections 0\n".to_vec()),
            },
            wall: || SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
        })
        .unwrap();
        let fanout = Arc::new(FakeFanout::default());
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(net, listener, service, Arc::clone(&fanout), shutdown.clone()));
        Stage { address, channels, fanout, gate, observe, limit_events, shutdown, server }
    }

    /// Sends `request` on a connection of its own and returns everything up to its end, without `Date` lines.
    pub(crate) async fn ask(&self, request: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut socket).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Everything until the server closes the connection, without `Date` lines. Packets show as `[packet]`.
pub(crate) async fn read_to_end(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    timeout(DEADLINE, socket.read_to_end(&mut bytes)).await.expect("the server closes").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let text = text.replace(std::str::from_utf8(&PACKET).unwrap(), "[packet]");
    text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect()
}

/// Waits until `holds` does.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"));
}

/// A resource that everybody may use.
pub(crate) fn resource(serve: &str, kind: Kind) -> Resource {
    Resource {
        serve: Serve::parse(serve).unwrap(),
        access: Access::open(),
        cors: Cors::SameOrigin,
        headers: HeaderMap::new(),
        kind,
    }
}

/// An open stream.
pub(crate) fn stream(serve: &str, id: u32, face: StreamFace) -> Resource {
    resource(serve, Kind::Stream(StreamId(id), face))
}

/// An open API resource.
pub(crate) fn api(serve: &str, api: Api) -> Resource {
    resource(serve, Kind::Api(api))
}
