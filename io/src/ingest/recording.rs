//! A finite recording, played in real time by its own clock.

use std::io::{Cursor, SeekFrom};

use restreamer_core::playout::{AtEnd, INPUT_BYTES, Next, Playout};
use restreamer_core::{CloseCause, CloseKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt};

use super::Sink;
use crate::clock::Clock;

/// A recording in memory, which begins again at its end for ever.
#[derive(Clone, Copy)]
pub(super) struct Place(pub(super) &'static [u8]);

impl Place {
    pub(super) async fn run(&self, sink: &mut impl Sink) -> CloseCause {
        play(Cursor::new(self.0), AtEnd::Repeat, sink).await
    }
}

/// Plays a recording from where it stands; with [`AtEnd::Repeat`], from its start after its end.
pub(super) async fn play<R>(mut recording: R, at_end: AtEnd, sink: &mut impl Sink) -> CloseCause
where
    R: AsyncRead + AsyncSeek + Unpin,
{
    let clock = Clock::start();
    let mut playout = Playout::new();
    let mut chunk = vec![0; INPUT_BYTES];
    sink.connected();
    loop {
        match playout.next_batch(clock.now()) {
            Next::Batch(batch) => {
                tokio::time::sleep_until(clock.at(batch.at)).await;
                sink.data(&batch.bytes);
            }
            Next::NeedInput => match feed(&mut playout, &mut recording, at_end, &mut chunk).await {
                Ok(()) => {}
                Err(error) => return CloseCause::new(CloseKind::Io, &error.to_string()),
            },
            Next::Finished => return CloseCause::new(CloseKind::Ended, "end of the recording"),
            Next::Failed(error) => return error.cause(),
        }
    }
}

async fn feed<R>(
    playout: &mut Playout,
    recording: &mut R,
    at_end: AtEnd,
    chunk: &mut [u8],
) -> std::io::Result<()>
where
    R: AsyncRead + AsyncSeek + Unpin,
{
    match recording.read(chunk).await? {
        0 => {
            playout.end_of_input(at_end);
            recording.seek(SeekFrom::Start(0)).await?;
        }
        bytes => playout.push(&chunk[..bytes]),
    }
    Ok(())
}
