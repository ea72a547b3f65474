//! The chunked transfer coding of a stream (RFC 9112 §7.1), without a copy of the stream.
//!
//! A chunk promises a number of bytes before they are sent. The socket may take only some of them, and the drop
//! policy may act in between: whatever the stream's next bytes are then fills what was promised.

use std::io::Write;

use bytes::Bytes;

/// Where the wire is within the current chunk.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// End of the chunk before, and the size line of this one.
    overhead: [u8; OVERHEAD_MAX],
    length: u8,
    sent: u8,
    /// Bytes of this chunk that are promised and not sent.
    left: usize,
    has_begun: bool,
}

/// Two line ends and eight digits.
const OVERHEAD_MAX: usize = 12;

impl Chunks {
    /// These bytes as a chunk of their own; nothing for none.
    pub(crate) fn whole(bytes: &Bytes) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat().into()
    }

    /// Begins a chunk of `size` bytes unless the last one is not complete.
    pub(crate) fn begin(&mut self, size: impl FnOnce() -> usize) {
        if self.left > 0 || self.sent < self.length {
            return;
        }
        self.left = size();
        let line_end = if self.has_begun { "\r\n" } else { "" };
        let mut room = &mut self.overhead[..];
        write!(room, "{line_end}{:x}\r\n", self.left)
            .expect("a write is shorter than 4 GiB: eight digits do");
        self.length = (OVERHEAD_MAX - room.len()) as u8;
        self.sent = 0;
        self.has_begun = true;
    }

    /// What has to be sent before the next byte of the stream.
    pub(crate) fn overhead(&self) -> &[u8] {
        &self.overhead[usize::from(self.sent)..usize::from(self.length)]
    }

    /// How many bytes of the stream fit into the chunk.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// The socket took this many bytes; answers how many of them are the stream's.
    pub(crate) fn advance(&mut self, taken: usize) -> usize {
        let overhead = taken.min(self.overhead().len());
        self.sent += overhead as u8;
        self.left -= taken - overhead;
        taken - overhead
    }

    /// What ends the body; `None` when it cannot be ended well, in the middle of a chunk.
    pub(crate) fn end(&self) -> Option<&'static [u8]> {
        match (self.has_begun, self.left) {
            (false, _) => Some(b"0\r\n\r\n"),
            (true, 0) => Some(b"\r\n0\r\n\r\n"),
            (true, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `body` in writes that are cut at `cuts` bytes, offering `offer` bytes at a time.
    fn wire(body: &[u8], offer: usize, cut: usize) -> Vec<u8> {
        let mut chunks = Chunks::default();
        let (mut out, mut at) = (Vec::new(), 0);
        while at < body.len() {
            chunks.begin(|| offer.min(body.len() - at));
            let room = chunks.left().min(body.len() - at);
            let write = [chunks.overhead(), &body[at..at + room]].concat();
            let taken = cut.min(write.len());
            out.extend_from_slice(&write[..taken]);
            at += chunks.advance(taken);
        }
        out.extend_from_slice(chunks.end().expect("the body is complete"));
        out
    }

    fn unchunk(mut wire: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = wire.windows(2).position(|window| window == b"\r\n").unwrap();
            let size = usize::from_str_radix(std::str::from_utf8(&wire[..line]).unwrap(), 16).unwrap();
            wire = &wire[line + 2..];
            body.extend_from_slice(&wire[..size]);
            assert_eq!(&wire[size..size + 2], b"\r\n");
            wire = &wire[size + 2..];
            if size == 0 {
                assert!(wire.is_empty());
                return body;
            }
        }
    }

    #[test]
    fn a_body_survives_every_way_to_cut_its_writes() {
        let body: Vec<u8> = (0..5_000u32).map(|at| at as u8).collect();
        for offer in [1, 15, 16, 255, 256, 4_096, 5_000] {
            for cut in [1, 2, 3, 7, 100, 10_000] {
                assert_eq!(unchunk(&wire(&body, offer, cut)), body, "offer {offer}, cut {cut}");
            }
        }
    }

    #[test]
    fn a_preamble_is_a_chunk_and_no_preamble_is_none() {
        assert_eq!(Chunks::whole(&Bytes::from_static(b"hello")), "5\r\nhello\r\n");
        assert_eq!(Chunks::whole(&Bytes::new()), "");
    }
}
