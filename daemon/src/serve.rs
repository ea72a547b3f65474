//! From a configuration to a running server.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use restreamer_core::{AdmissionLimits, Rng};
use restreamer_io::answer::StreamFace;
use restreamer_io::api::Api;
use restreamer_io::clock::Clock;
use restreamer_io::engine::{self, Door, Engine, ListenError, Place};
use restreamer_io::gate::Gate;
use restreamer_io::ingest::Source;
use restreamer_io::journal::Journal;
use restreamer_io::net::TokioNet;
use restreamer_io::notify::Notifier;
use restreamer_io::observe::Observe;
use restreamer_io::proxy::Static;
use restreamer_io::registry::{Registry, StreamPlan};
use restreamer_io::route::{Duplicate, StreamId};
use restreamer_io::service::{Kind, Parts, Resource, Service};
use restreamer_io::tls::{Identity, IdentityError};
use tokio_util::sync::CancellationToken;

use crate::config::{Candidates, Config, Document, Endpoint, ListenAddress};
use crate::log::LogHandle;
use crate::metrics;
use crate::profile::Profiles;
use crate::signals::Shutdown;

/// Why the server cannot start.
#[derive(Debug)]
pub enum ServeError {
    /// It cannot listen.
    Listen(ListenError),
    /// It cannot serve profiles where it should.
    Profile(ListenError),
    /// The host name of a `listen` address cannot be resolved.
    UnknownHost {
        /// The name.
        host: String,
        /// What the resolver says.
        error: io::Error,
    },
    /// A certificate or its key cannot be used.
    Identity(IdentityError),
    /// A preamble cannot be read.
    Preamble {
        /// Its file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Two resources claim the same path.
    Duplicate(Duplicate),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Listen(error) => fmt_listen(f, error, "--listen"),
            ServeError::Profile(error) => {
                f.write_str("profile: ")?;
                fmt_listen(f, error, "the key profile")
            }
            ServeError::UnknownHost { host, error } => write!(f, "cannot listen on {host}: {error}"),
            ServeError::Identity(error) => error.fmt(f),
            ServeError::Preamble { file, error } => write!(f, "preamble {}: {error}", file.display()),
            ServeError::Duplicate(duplicate) => {
                write!(f, "resources {} and {} claim the same path", duplicate.first, duplicate.second)
            }
        }
    }
}

impl std::error::Error for ServeError {}

/// Why there is no listening, and what to do; `setting` is where the address came from.
fn fmt_listen(f: &mut fmt::Formatter<'_>, failure: &ListenError, setting: &str) -> fmt::Result {
    let ListenError { place: Some(place), error } = failure else {
        return write!(f, "no runtime: {}", failure.error);
    };
    write!(f, "cannot listen on {place}: {error}: ")?;
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            write!(f, "another program uses it; stop that one, or choose another port with {setting}")
        }
        io::ErrorKind::PermissionDenied => write!(
            f,
            "ports below 1024 need root or CAP_NET_BIND_SERVICE; or choose another port with {setting}"
        ),
        io::ErrorKind::AddrNotAvailable => f.write_str("no interface of this machine has the address"),
        _ => write!(f, "choose another address with {setting}"),
    }
}

/// Serves until it is asked to end; `is_listening` is told where, once all doors are open.
pub fn serve(
    config: &Config,
    log: &LogHandle,
    mut shutdown: Shutdown,
    is_listening: impl FnOnce(&[Door]),
) -> Result<(), ServeError> {
    let engine = engine_of(config, log)?;
    let mut doors = Vec::new();
    for listener in &config.listeners {
        let identity = match &listener.tls {
            Some(tls) => {
                let identity = Identity::load(&tls.cert, &tls.key).map_err(ServeError::Identity)?;
                engine.add_chore(Arc::clone(&identity).watch());
                Some(identity)
            }
            None => None,
        };
        let places = places(&listener.address)?;
        doors.extend(places.into_iter().map(|place| Door { place, identity: identity.clone() }));
    }
    let end = CancellationToken::new();
    let profiles = match &config.profile {
        Some(address) => Some(Profiles::serve(places(address)?, end.clone()).map_err(ServeError::Profile)?),
        None => None,
    };
    engine.add_chore({
        let end = end.clone();
        async move {
            shutdown.requested().await;
            end.cancel();
        }
    });
    let served = engine::run(&engine, config.threads.get(), doors, &end, is_listening);
    end.cancel();
    if let Some(profiles) = profiles {
        profiles.join();
    }
    served.map_err(ServeError::Listen)
}

fn engine_of(config: &Config, log: &LogHandle) -> Result<Arc<Engine>, ServeError> {
    let clock = Clock::start();
    // Which of several sources is tried first is the only thing left to chance, and it should differ between the
    // edges of one origin.
    let mut seeds =
        Rng::from_seed(SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64));
    let mut plans = Vec::new();
    for stream in &config.streams {
        plans.push(StreamPlan {
            sources: Arc::clone(&stream.sources),
            config: stream.config(),
            ring: stream.ring_limits(),
            viewers: stream.viewers(),
            seed: seeds.next_u64(),
        });
    }
    let observe = Observe::new(config.streams.iter().zip(&plans).map(|(stream, plan)| {
        let sources: Vec<_> = plan.sources.iter().map(Source::label).collect();
        (stream.endpoint.serve.label(), sources)
    }));
    let notifier = Notifier::new(config.notifications.iter().cloned());
    let limits = AdmissionLimits {
        hard: config.connections_max,
        soft: config.connections_full,
        ..AdmissionLimits::default()
    };
    let gate = Gate::new(limits, Arc::clone(&observe), notifier.on_limit());
    if config.apis.iter().any(|resource| resource.api == Api::Events) {
        observe.keep_journal(Journal::new(&plans));
    }
    let (registry, orders) = Registry::new(clock, plans);
    let service = Service::new(Parts {
        resources: resources_of(config)?,
        channels: registry.clone(),
        gate,
        observe: Arc::clone(&observe),
        metrics: metrics::metrics(Arc::clone(&observe), Arc::clone(&notifier), log.clone()),
        wall: SystemTime::now,
    })
    .map_err(ServeError::Duplicate)?;
    let engine = Engine::new(clock, registry, orders, observe, service);
    engine.add_chore(notifier.run(TokioNet, config.client.clone(), config.heartbeat));
    Ok(engine)
}

fn resources_of(config: &Config) -> Result<Vec<Resource>, ServeError> {
    let mut resources = Vec::new();
    for (id, stream) in (0..).map(StreamId).zip(&config.streams) {
        let preamble = match &stream.preamble {
            Some(file) => {
                std::fs::read(file).map_err(|error| ServeError::Preamble { file: file.clone(), error })?
            }
            None => Vec::new(),
        };
        let face = StreamFace {
            content_type: stream.tuning.content_type.clone(),
            framing: stream.tuning.framing,
            preamble: Bytes::from(preamble),
            refuse_status: stream.tuning.refuse_status,
        };
        resources.push(resource(&stream.endpoint, Kind::Stream(id, face)));
    }
    for document in &config.statics {
        let kind = match &document.remote {
            Document::File(path) => Static::file(path.clone(), document.cache),
            Document::Remote(target) => {
                Static::remote(TokioNet, target.clone(), config.client.clone(), document.cache)
            }
        };
        resources.push(resource(&document.endpoint, Kind::Static(kind)));
    }
    for api in &config.apis {
        resources.push(resource(&api.endpoint, Kind::Api(api.api)));
    }
    Ok(resources)
}

fn resource(endpoint: &Endpoint, kind: Kind) -> Resource {
    Resource {
        serve: endpoint.serve.clone(),
        access: endpoint.authentication.to_access(),
        cors: endpoint.cors.clone(),
        headers: endpoint.headers.clone(),
        kind,
    }
}

fn places(address: &ListenAddress) -> Result<Vec<Place>, ServeError> {
    if let ListenAddress::Unix(path) = address {
        return Ok(vec![Place::Unix(path.clone())]);
    }
    match address.candidates() {
        Candidates::Addresses(addresses) => {
            let is_pair = addresses.len() > 1;
            let place = |address: std::net::SocketAddr| match is_pair && address.is_ipv6() {
                true => Place::TcpBesideV4(address),
                false => Place::Tcp(address),
            };
            Ok(addresses.into_iter().map(place).collect())
        }
        Candidates::Name(host, port) => match (host, port).to_socket_addrs() {
            Ok(addresses) => Ok(addresses.map(Place::Tcp).collect()),
            Err(error) => Err(ServeError::UnknownHost { host: host.to_owned(), error }),
        },
    }
}
