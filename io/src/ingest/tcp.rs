//! `tcp://host:port`: a transport stream and nothing else on a TCP connection.

use std::time::Duration;

use restreamer_core::{CloseCause, CloseKind, Patience};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{READ_BYTES, Sink, SourceOptions};
use crate::client::{limited, unreachable};
use crate::net::Net;
use crate::url::{Authority, UrlError};

#[derive(Clone)]
pub(super) struct Place {
    host: Box<str>,
    port: u16,
    timeout: Option<Duration>,
}

impl Place {
    pub(super) fn parse(rest: &str, options: &SourceOptions) -> Result<Self, UrlError> {
        let (authority, _) = Authority::parse(rest)?;
        if authority.user_info.is_some() {
            return Err(UrlError::UserInfo);
        }
        if authority.host.is_empty() {
            return Err(UrlError::NoHost);
        }
        let port = authority.port.ok_or(UrlError::NoPort)?;
        Ok(Place { host: authority.host.into(), port, timeout: options.connect_timeout })
    }

    pub(super) async fn run<N: Net>(&self, net: &N, sink: &mut impl Sink) -> CloseCause {
        let place = format!("{}:{}", self.host, self.port);
        let connect = async {
            let connected = net.connect_tcp(&self.host, self.port).await;
            connected.map_err(|error| unreachable(&place, &error))
        };
        match limited(self.timeout, &format!("a connection to {place}"), connect).await {
            Ok(mut stream) => {
                sink.connected();
                read_to_end(&mut stream, sink).await
            }
            Err(cause) => cause,
        }
    }
}

/// Hands on everything that `stream` delivers, as it comes.
pub(super) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin), sink: &mut impl Sink) -> CloseCause {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        sink.ready(if sink.is_drained() { Patience::Waits } else { Patience::Backlog }).await;
        match stream.read(&mut buffer).await {
            Ok(0) => return CloseCause::new(CloseKind::Ended, "the source closed the connection"),
            Ok(n) => sink.data(&buffer[..n]),
            Err(error) => return CloseCause::new(CloseKind::Io, &format!("cannot read: {error}")),
        }
    }
}
