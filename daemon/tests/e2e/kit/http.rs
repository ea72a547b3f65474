//! An HTTP client on plain sockets, which hides nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header that occurs at most once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} occurs twice: {self:?}");
        value
    }
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// GET, to the end of the response.
pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    request(address, &format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

/// Sends `text` and reads until the server closes the connection.
pub(crate) fn request(address: SocketAddr, text: &str) -> Answer {
    let (head, mut body, mut stream) = open(address, text).unwrap();
    stream.read_to_end(&mut body).unwrap();
    Answer { head, body }
}

/// Sends `text` and reads until the end of the head; beside it what was read of the body, and the connection.
pub(crate) fn open(address: SocketAddr, text: &str) -> std::io::Result<(Head, Vec<u8>, TcpStream)> {
    let mut stream = connect(address)?;
    stream.write_all(text.as_bytes())?;
    let mut received = Vec::new();
    loop {
        let mut buffer = [0; 16 << 10];
        let n = stream.read(&mut buffer)?;
        received.extend_from_slice(&buffer[..n]);
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = received.split_off(end + 4);
            return Ok((parse(&received), body, stream));
        }
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A connection that gives up reading and writing in the end.
pub(crate) fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn parse(head: &[u8]) -> Head {
    let text = std::str::from_utf8(head).unwrap();
    let mut lines = text.trim_end().split("\r\n");
    let status_line = lines.next().unwrap();
    assert!(status_line.starts_with("HTTP/1."), "{status_line}");
    let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_owned(), value.trim().to_owned())
    };
    Head { status, headers: lines.map(header).collect() }
}
