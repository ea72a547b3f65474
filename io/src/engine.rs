//! The streams, the doors and the runtimes, put together.
//!
//! Every worker thread has a runtime of its own, a listener of its own on every address (the kernel spreads
//! connections over them), and its share of the streams' channels. Any worker can serve any stream;
//! [`placement`](crate::placement) says which one does.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use restreamer_core::Operator;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::channel::Channel;
use crate::clock::Clock;
use crate::fanout::{FanOuts, Outlet, ViewerConfig};
use crate::net::{ListenOptions, Net, TokioNet, Uprooted};
use crate::observe::Observe;
use crate::placement::{Placement, home};
use crate::registry::Registry;
use crate::route::StreamId;
use crate::server::{Listener, serve};
use crate::service::Service;
use crate::socket::Socket;
use crate::tls::Identity;

/// Time that viewers' last packets have at a shutdown, and after them what still runs beside the runtimes: commands
/// that end, names that are looked up, files on a disk that does not answer.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// Everything that the workers share.
pub struct Engine {
    /// The process's clock.
    pub clock: Clock,
    /// The streams.
    pub registry: Arc<Registry>,
    /// What is counted.
    pub observe: Arc<Observe>,
    /// What requests are answered with.
    pub service: Arc<Service>,
    orders: Mutex<Vec<Option<mpsc::Receiver<Operator>>>>,
    chores: Mutex<Vec<Chore>>,
}

/// Work of the whole process that never ends.
type Chore = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Which part of the work a worker does.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Number of the worker, from 0.
    pub worker: usize,
    /// How many there are.
    pub of: usize,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Door {
    /// The address.
    pub place: Place,
    /// With TLS, under this identity.
    pub identity: Option<Arc<Identity>>,
}

/// The address of a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP.
    Tcp(SocketAddr),
    /// TCP over IPv6 at a port that is open for IPv4 too; left out where the machine has no IPv6.
    TcpBesideV4(SocketAddr),
    /// A domain socket.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(address) | Place::TcpBesideV4(address) => address.fmt(f),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A door could not be opened.
#[derive(Debug)]
pub struct ListenError {
    /// Where it should have been; `None` when there was no runtime to open it with.
    pub place: Option<Place>,
    /// Why it could not.
    pub error: io::Error,
}

impl Engine {
    /// An engine at rest; `orders` are the receivers that came with the registry.
    pub fn new(
        clock: Clock,
        registry: Arc<Registry>,
        orders: Vec<mpsc::Receiver<Operator>>,
        observe: Arc<Observe>,
        service: Arc<Service>,
    ) -> Arc<Self> {
        let orders = Mutex::new(orders.into_iter().map(Some).collect());
        let sampling = Arc::clone(&observe);
        let chores = Mutex::new(vec![Box::pin(async move { sampling.sample().await }) as Chore]);
        Arc::new(Engine { clock, registry, observe, service, orders, chores })
    }

    /// Has the first worker do this beside its share, until the shutdown.
    pub fn add_chore(&self, chore: impl Future<Output = ()> + Send + 'static) {
        self.chores.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(chore));
    }

    /// Does one worker's share on the current runtime, until `shutdown` and the farewell after it.
    pub async fn work<N: Net>(
        &self,
        net: N,
        share: Share,
        listeners: Vec<Listener<N>>,
        placement: Arc<Placement<Socket<N::Stream>>>,
        shutdown: CancellationToken,
    ) {
        let mut tasks = JoinSet::new();
        for stream in self.registry.ids().filter(|&stream| home(stream, share.of) == share.worker) {
            let orders = &mut self.orders.lock().unwrap_or_else(PoisonError::into_inner)[stream.0 as usize];
            if let Some(orders) = orders.take() {
                tasks.spawn(self.channel(stream).run(net.clone(), orders, shutdown.clone()));
            }
        }
        let streams = self.registry.ids().map(|stream| {
            let plan = self.registry.plan(stream);
            (plan.viewers, plan.config.latency, Arc::clone(self.registry.published(stream)))
        });
        let fan_outs =
            FanOuts::new(streams, &self.observe, self.clock, shutdown.clone(), Sockets(net.clone()));
        let desk = Arc::new(placement.enter(share.worker, Arc::clone(&fan_outs)));
        for listener in listeners {
            let (service, desk) = (Arc::clone(&self.service), Arc::clone(&desk));
            tasks.spawn(serve(net.clone(), listener, service, desk, shutdown.clone()));
        }
        let mut chores = JoinSet::new();
        if share.worker == 0 {
            for chore in self.chores.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                chores.spawn(chore);
            }
        }
        shutdown.cancelled().await;
        let farewell = async {
            while tasks.join_next().await.is_some() {}
            fan_outs.join().await;
        };
        let _ = tokio::time::timeout(FAREWELL_MAX, farewell).await;
    }

    fn channel(&self, stream: StreamId) -> Channel {
        let plan = self.registry.plan(stream);
        Channel {
            id: stream,
            sources: Arc::clone(&plan.sources),
            config: plan.config,
            seed: plan.seed,
            published: Arc::clone(self.registry.published(stream)),
            observe: Arc::clone(&self.observe),
            clock: self.clock,
        }
    }
}

/// The viewers' sockets of a network.
struct Sockets<N>(N);

impl<N: Net> Outlet<Socket<N::Stream>> for Sockets<N> {
    fn tune(&self, socket: &Socket<N::Stream>, viewers: &ViewerConfig) {
        if let (Some(transport), Some(bytes)) = (socket.transport(), viewers.send_buffer) {
            // What cannot be set stays as the kernel has it: not worth losing the viewer.
            let _ = self.0.set_send_buffer(transport, bytes);
        }
    }

    fn send(&self, socket: &Socket<N::Stream>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match socket {
            Socket::Plain(stream) => self.0.send(stream, pieces),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn uproot(&self, socket: Socket<N::Stream>) -> Result<Uprooted<Socket<N::Stream>>, Socket<N::Stream>> {
        match socket {
            Socket::Plain(stream) => match self.0.uproot(stream) {
                Ok(uprooted) => Ok(Box::new(|| uprooted().map(Socket::Plain))),
                Err(stream) => Err(Socket::Plain(stream)),
            },
            other => Err(other),
        }
    }
}

/// Runs `engine` on `threads` threads until `shutdown`; returns when all is served.
///
/// `is_listening` is called with the places in use once every door is open, before the first connection.
pub fn run(
    engine: &Arc<Engine>,
    threads: usize,
    mut doors: Vec<Door>,
    shutdown: &CancellationToken,
    is_listening: impl FnOnce(&[Door]),
) -> Result<(), ListenError> {
    let threads = threads.max(1);
    let mut workers = Vec::new();
    for worker in 0..threads {
        // Not in the threads, so that the first failure is the only one, and no connection is taken before all
        // doors are open.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ListenError { place: None, error })?;
        let share = Share { worker, of: threads };
        let listeners = runtime.block_on(open(&mut doors, share))?;
        workers.push((share, runtime, listeners));
    }
    is_listening(&doors);
    let placement = Placement::new(threads);
    std::thread::scope(|scope| {
        for (share, runtime, listeners) in workers {
            let work = engine.work(TokioNet, share, listeners, Arc::clone(&placement), shutdown.clone());
            scope.spawn(move || {
                runtime.block_on(work);
                runtime.shutdown_timeout(FAREWELL_MAX);
            });
        }
    });
    for door in doors {
        if let Place::Unix(path) = door.place {
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

/// Opens one worker's doors. A port 0 is replaced by the one that the system chose; a door that this machine
/// cannot have, and need not, is left out.
pub async fn open(doors: &mut Vec<Door>, share: Share) -> Result<Vec<Listener<TokioNet>>, ListenError> {
    let mut listeners = Vec::new();
    let mut opened = Vec::new();
    for mut door in doors.drain(..) {
        let listener = match &mut door.place {
            Place::Unix(_) if share.worker > 0 => {
                opened.push(door);
                continue;
            }
            Place::Unix(path) => Listener::bind_unix(path),
            Place::Tcp(address) => open_tcp(address, share, false).await,
            Place::TcpBesideV4(address) => match open_tcp(address, share, true).await {
                Err(error) if has_no_v6(&error) => continue,
                listener => listener,
            },
        };
        let listener = listener.map_err(|error| ListenError { place: Some(door.place.clone()), error })?;
        listeners.push(match &door.identity {
            Some(identity) => Listener::Secure(Box::new(listener), identity.acceptor()),
            None => listener,
        });
        opened.push(door);
    }
    *doors = opened;
    Ok(listeners)
}

async fn open_tcp(address: &mut SocketAddr, share: Share, v6_only: bool) -> io::Result<Listener<TokioNet>> {
    if share.worker == 0 && address.port() != 0 {
        // A shared port would hide that somebody else listens on it already.
        drop(TokioNet.listen(*address, ListenOptions { reuse_port: false, v6_only }).await?);
    }
    let listener = TokioNet.listen(*address, ListenOptions { reuse_port: share.of > 1, v6_only }).await?;
    *address = TokioNet.local_addr(&listener)?;
    Ok(Listener::Tcp(listener))
}

fn has_no_v6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}
