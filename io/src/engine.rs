//! The streams, the doors and the runtimes, put together.
//!
//! Every worker thread has a runtime of its own, a listener of its own on every address (the kernel spreads
//! connections over them), and its share of the streams' channels. Any worker can serve any stream.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use restreamer_core::Operator;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::channel::Channel;
use crate::clock::Clock;
use crate::fanout::FanOuts;
use crate::net::{ListenOptions, Net, TokioNet};
use crate::observe::Observe;
use crate::registry::Registry;
use crate::route::StreamId;
use crate::server::{Listener, serve};
use crate::service::Service;

/// Time that viewers' last packets have at a shutdown.
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
}

/// Which part of the work a worker does.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Number of the worker, from 0.
    pub worker: usize,
    /// How many there are.
    pub of: usize,
}

/// A door could not be opened.
#[derive(Debug)]
pub struct ListenError {
    /// Where it should have been.
    pub address: SocketAddr,
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
        Arc::new(Engine { clock, registry, observe, service, orders })
    }

    /// Does one worker's share on the current runtime, until `shutdown` and the farewell after it.
    pub async fn work<N: Net>(
        &self,
        net: N,
        share: Share,
        listeners: Vec<Listener<N>>,
        shutdown: CancellationToken,
    ) {
        let mut tasks = JoinSet::new();
        for stream in self.registry.ids().filter(|stream| stream.0 as usize % share.of == share.worker) {
            let orders = &mut self.orders.lock().unwrap_or_else(PoisonError::into_inner)[stream.0 as usize];
            if let Some(orders) = orders.take() {
                tasks.spawn(self.channel(stream).run(net.clone(), orders, shutdown.clone()));
            }
        }
        let streams = self
            .registry
            .ids()
            .map(|stream| (self.registry.plan(stream).viewers, Arc::clone(self.registry.published(stream))));
        let fan_outs = FanOuts::new(streams, &self.observe, self.clock, shutdown.clone());
        for listener in listeners {
            let (service, fan_outs) = (Arc::clone(&self.service), Arc::clone(&fan_outs));
            tasks.spawn(serve(net.clone(), listener, service, fan_outs, shutdown.clone()));
        }
        if share.worker == 0 {
            let observe = Arc::clone(&self.observe);
            tokio::spawn(async move { observe.sample().await });
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

/// Runs `engine` on `threads` threads until `shutdown`; returns when all is served.
///
/// `is_listening` is called with the addresses in use once every door is open, before the first connection.
pub fn run(
    engine: &Arc<Engine>,
    threads: usize,
    addresses: &[SocketAddr],
    shutdown: &CancellationToken,
    is_listening: impl FnOnce(&[SocketAddr]),
) -> Result<(), ListenError> {
    let threads = threads.max(1);
    let mut addresses = addresses.to_vec();
    let mut workers = Vec::new();
    for _ in 0..threads {
        // Not in the threads, so that the first failure is the only one, and no connection is taken before all
        // doors are open.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ListenError { address: addresses[0], error })?;
        let listeners =
            runtime.block_on(open(&mut addresses, threads > 1 || !workers.is_empty(), workers.is_empty()))?;
        workers.push((runtime, listeners));
    }
    is_listening(&addresses);
    std::thread::scope(|scope| {
        for (worker, (runtime, listeners)) in workers.into_iter().enumerate() {
            let share = Share { worker, of: threads };
            let work = engine.work(TokioNet, share, listeners, shutdown.clone());
            scope.spawn(move || runtime.block_on(work));
        }
    });
    Ok(())
}

/// Opens one worker's doors. A port 0 is replaced by the one that the system chose.
async fn open(
    addresses: &mut [SocketAddr],
    reuse_port: bool,
    is_first: bool,
) -> Result<Vec<Listener<TokioNet>>, ListenError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listening = async {
            if is_first && address.port() != 0 {
                // A shared port would hide that somebody else listens on it already.
                drop(TokioNet.listen(*address, ListenOptions::default()).await?);
            }
            let listener = TokioNet.listen(*address, ListenOptions { reuse_port, v6_only: false }).await?;
            *address = TokioNet.local_addr(&listener)?;
            Ok(listener)
        };
        match listening.await {
            Ok(listener) => listeners.push(Listener::Tcp(listener)),
            Err(error) => return Err(ListenError { address: *address, error }),
        }
    }
    Ok(listeners)
}
