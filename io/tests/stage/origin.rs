//! A small HTTP server whose every answer is scripted, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What to do with a request.
pub(crate) enum Reply {
    /// Send these pieces, each with a write of its own, and close.
    Pieces(Vec<Vec<u8>>),
    /// The same, after a permit was given.
    After(Arc<Notify>, Vec<Vec<u8>>),
    /// Never answer, and keep the connection.
    Silence,
}

impl Reply {
    pub(crate) fn text(answer: impl Into<Vec<u8>>) -> Reply {
        Reply::Pieces(vec![answer.into()])
    }
}

/// The running server; it ends when this is dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Origin {
    /// `script` gets the head of each request and its number, from 0.
    pub(crate) async fn start(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        let script = Arc::new(script);
        let server = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (heard, script) = (Arc::clone(&heard), Arc::clone(&script));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let request = String::from_utf8(request).unwrap();
                    let number = {
                        let mut heard = heard.lock().unwrap();
                        heard.push(request.clone());
                        heard.len() - 1
                    };
                    let pieces = match script(&request, number) {
                        Reply::Pieces(pieces) => pieces,
                        Reply::After(permit, pieces) => {
                            permit.notified().await;
                            pieces
                        }
                        Reply::Silence => std::future::pending().await,
                    };
                    for piece in pieces {
                        if socket.write_all(&piece).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Origin { address, requests, server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The request lines so far, without version.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |request: String| request.split(" HTTP/").next().unwrap_or_default().to_owned();
        self.requests().into_iter().map(line).collect()
    }
}
