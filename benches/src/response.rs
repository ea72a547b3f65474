//! The answer of a server, cut into head and body as it comes in.

use std::fmt;

/// A head that is longer than this is refused.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// A chunk's size line that is longer than this is refused.
const SIZE_LINE_BYTES_MAX: usize = 256;

/// Reads one response: collects the head, then hands out the body, without the framing of
/// `Transfer-Encoding: chunked` (RFC 9112 §7.1) where the server uses it.
#[derive(Debug)]
pub enum Response {
    /// Part of the head.
    Head(Vec<u8>),
    /// The body goes on until the end of the connection.
    Plain,
    /// The body comes in chunks.
    Chunked(Chunk),
}

/// Where in the chunked encoding the next byte stands.
#[derive(Debug)]
pub enum Chunk {
    /// In the size line, of which this much is known.
    Size(Vec<u8>),
    /// In the data; so many bytes are left.
    Data(u64),
    /// In the line end behind the data; so many bytes are left.
    End(u8),
    /// Behind the last chunk.
    Trailer,
}

/// Why an answer is not a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAStream {
    /// The server refused with this status code and reason phrase.
    Status(String),
    /// It does not speak HTTP/1.
    Malformed(&'static str),
}

impl fmt::Display for NotAStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAStream::Status(status) => write!(f, "the server answered {status}"),
            NotAStream::Malformed(what) => write!(f, "the server does not speak HTTP/1: {what}"),
        }
    }
}

impl Default for Response {
    fn default() -> Self {
        Response::Head(Vec::new())
    }
}

impl Response {
    /// Whether the head is complete.
    pub fn in_body(&self) -> bool {
        !matches!(self, Response::Head(_))
    }

    /// Takes what was received; calls `body` with each run of body bytes in it.
    pub fn push(&mut self, mut bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<(), NotAStream> {
        if let Response::Head(head) = self {
            let before = head.len();
            head.extend_from_slice(bytes);
            let Some((length, chunked)) = parse_head(head)? else {
                return Ok(());
            };
            bytes = &bytes[length - before..];
            *self = if chunked { Response::Chunked(Chunk::Size(Vec::new())) } else { Response::Plain };
        }
        match self {
            Response::Chunked(chunk) => chunk.push(bytes, body),
            _ => {
                if !bytes.is_empty() {
                    body(bytes);
                }
                Ok(())
            }
        }
    }
}

impl Chunk {
    fn push(&mut self, mut bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<(), NotAStream> {
        while let Some(&byte) = bytes.first() {
            match self {
                Chunk::Size(line) => {
                    bytes = &bytes[1..];
                    line.push(byte);
                    if line.len() > SIZE_LINE_BYTES_MAX {
                        return Err(NotAStream::Malformed("endless chunk size"));
                    }
                    match httparse::parse_chunk_size(line) {
                        Ok(httparse::Status::Complete((_, 0))) => *self = Chunk::Trailer,
                        Ok(httparse::Status::Complete((_, size))) => *self = Chunk::Data(size),
                        Ok(httparse::Status::Partial) => {}
                        Err(_) => return Err(NotAStream::Malformed("bad chunk size")),
                    }
                }
                Chunk::Data(left) => {
                    let take = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    body(&bytes[..take]);
                    bytes = &bytes[take..];
                    *left -= take as u64;
                    if *left == 0 {
                        *self = Chunk::End(2);
                    }
                }
                Chunk::End(left) => {
                    bytes = &bytes[1..];
                    *left -= 1;
                    if *left == 0 {
                        *self = Chunk::Size(Vec::new());
                    }
                }
                Chunk::Trailer => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Length of the head and whether the body is chunked; `None` when more bytes are needed.
fn parse_head(head: &[u8]) -> Result<Option<(usize, bool)>, NotAStream> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(httparse::Status::Complete(length)) => {
            let status = response.code.unwrap_or(0);
            if status != 200 {
                let status = format!("{status} {}", response.reason.unwrap_or_default());
                return Err(NotAStream::Status(status.trim_end().to_owned()));
            }
            let chunked = response.headers.iter().any(|header| {
                header.name.eq_ignore_ascii_case("transfer-encoding")
                    && header.value.to_ascii_lowercase().ends_with(b"chunked")
            });
            Ok(Some((length, chunked)))
        }
        Ok(httparse::Status::Partial) if head.len() > HEAD_BYTES_MAX => {
            Err(NotAStream::Malformed("endless head"))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(NotAStream::Malformed("bad head")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                             5\r\nhello\r\n1;x=y\r\n \r\n00A\r\n0123456789\r\n0\r\n\r\n";
    const PLAIN: &[u8] = b"HTTP/1.0 200 OK\r\ncontent-type: video/mp2t\r\n\r\nhello 0123456789";

    fn read(pieces: &[&[u8]]) -> Result<Vec<u8>, NotAStream> {
        let (mut response, mut body) = (Response::default(), Vec::new());
        for piece in pieces {
            response.push(piece, |bytes| body.extend_from_slice(bytes))?;
        }
        Ok(body)
    }

    #[test]
    fn any_cut_of_the_bytes_gives_the_same_body() {
        for answer in [CHUNKED, PLAIN] {
            for cut in 0..=answer.len() {
                assert_eq!(
                    read(&[&answer[..cut], &answer[cut..]]).unwrap(),
                    b"hello 0123456789",
                    "cut at {cut}"
                );
            }
            let bytes: Vec<&[u8]> = answer.chunks(1).collect();
            assert_eq!(read(&bytes).unwrap(), b"hello 0123456789");
        }
    }

    #[test]
    fn what_is_not_a_stream_says_why() {
        for status in ["404 Not Found", "503"] {
            let answer = format!("HTTP/1.1 {status}\r\n\r\nno");
            assert_eq!(read(&[answer.as_bytes()]), Err(NotAStream::Status(status.to_owned())));
        }
        assert_eq!(read(&[b"SSH-2.0-x\r\n"]), Err(NotAStream::Malformed("bad head")));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
        assert_eq!(read(&[chunked]), Err(NotAStream::Malformed("bad chunk size")));
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &vec![b'x'; HEAD_BYTES_MAX]].concat();
        assert_eq!(read(&[&endless]), Err(NotAStream::Malformed("endless head")));
    }
}
