//! `tcp://host:port`: a transport stream and nothing else on a TCP connection.

use std::pin::Pin;
use std::time::Duration;

use restreamer_core::{CloseCause, CloseKind, Patience};
use tokio::io::{AsyncRead, ReadBuf};

use super::resting::unless_drained;
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
        let mut read = ReadBuf::new(&mut buffer);
        match unless_drained(sink, |cx| Pin::new(&mut *stream).poll_read(cx, &mut read)).await {
            None => {}
            Some(Ok(())) if read.filled().is_empty() => {
                return CloseCause::new(CloseKind::Ended, "the source closed the connection");
            }
            Some(Ok(())) => sink.data(read.filled()),
            Some(Err(error)) => return CloseCause::new(CloseKind::Io, &format!("cannot read: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::resting::testing::{Rester, beside};
    use tokio::io::AsyncWriteExt;

    /// A read that fills its buffer does not tell whether there is more. When there is not, the next one has to wait
    /// for the source and for the reader's turn, or it would wait for ever.
    #[tokio::test(start_paused = true)]
    async fn a_source_goes_on_after_a_read_that_took_exactly_all() {
        let place = Place::parse("h:1", &SourceOptions::default()).unwrap();
        for is_resting in [true, false] {
            let (net, mut sink, mut server) = Rester::new(is_resting);
            let go_on = sink.go_on();
            let source = async {
                for bytes in [188, READ_BYTES, 2 * READ_BYTES, 188] {
                    server.write_all(&vec![0x47; bytes]).await.unwrap();
                    go_on.notified().await;
                }
                drop(server);
            };
            let cause = beside(source, place.run(&net, &mut sink)).await;
            assert_eq!(cause.kind, CloseKind::Ended, "{cause}");
            assert_eq!(sink.bytes, 2 * 188 + 3 * READ_BYTES);
        }
    }
}
