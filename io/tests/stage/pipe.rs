//! Connections within the process: no kernel, small buffers, and so no accident of timing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use restreamer_io::net::{ListenOptions, Net};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc};

/// Bytes that a pipe holds in each direction.
pub(crate) const PIPE_BYTES: usize = 64;

/// A network whose only way in is [`Pipes::connect`].
#[derive(Clone)]
pub(crate) struct Pipes {
    accepted: mpsc::UnboundedSender<io::Result<DuplexStream>>,
}

pub(crate) type PipeListener = Mutex<mpsc::UnboundedReceiver<io::Result<DuplexStream>>>;

impl Pipes {
    pub(crate) fn new() -> (Self, PipeListener) {
        let (accepted, listener) = mpsc::unbounded_channel();
        (Pipes { accepted }, Mutex::new(listener))
    }

    /// A new connection to the listener.
    pub(crate) fn connect(&self) -> DuplexStream {
        let (client, server) = duplex(PIPE_BYTES);
        self.accepted.send(Ok(server)).unwrap();
        client
    }

    /// The next `accept` fails with this error.
    pub(crate) fn fail(&self, os_error: i32) {
        self.accepted.send(Err(io::Error::from_raw_os_error(os_error))).unwrap();
    }

    pub(crate) fn address() -> SocketAddr {
        ([192, 0, 2, 1], 40_000).into()
    }
}

impl Net for Pipes {
    type Stream = DuplexStream;
    type Listener = Arc<PipeListener>;

    async fn connect_tcp(&self, _: &str, _: u16) -> io::Result<DuplexStream> {
        Ok(self.connect())
    }

    async fn listen(&self, _: SocketAddr, _: ListenOptions) -> io::Result<Self::Listener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<(DuplexStream, SocketAddr)> {
        match listener.lock().await.recv().await {
            Some(accepted) => Ok((accepted?, Self::address())),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self, _: &Self::Listener) -> io::Result<SocketAddr> {
        Ok(Self::address())
    }
}
