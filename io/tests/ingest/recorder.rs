//! Runs a source beside the test and records what it delivers. Every wait has a deadline.

use std::future::Future;
use std::time::Duration;

use restreamer_core::CloseCause;
use restreamer_io::ingest::{self, Note, Sink, Source, SourceOptions};
use restreamer_io::net::TokioNet;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Far more than anything here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// A source that runs beside the test; ended when dropped.
pub(crate) struct Running {
    events: mpsc::UnboundedReceiver<Event>,
    task: JoinHandle<CloseCause>,
    notes: Vec<Note>,
}

enum Event {
    Connected,
    Data(Vec<u8>),
    Note(Note),
}

struct Recorder(mpsc::UnboundedSender<Event>);

impl Running {
    pub(crate) fn start(url: &str) -> Self {
        Self::with(url, &SourceOptions::default())
    }

    pub(crate) fn with(url: &str, options: &SourceOptions) -> Self {
        Self::of(Source::parse(url, options).unwrap())
    }

    pub(crate) fn of(source: Source) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut recorder = Recorder(sender);
            ingest::run(&TokioNet, &source, &mut recorder).await
        });
        Running { events, task, notes: Vec::new() }
    }

    /// Waits until the source says that it is connected.
    pub(crate) async fn connected(&mut self) {
        match self.event().await {
            Some(Event::Connected) => {}
            Some(_) => panic!("something came before the connection"),
            None => panic!("it ended: {}", (&mut self.task).await.unwrap()),
        }
    }

    /// Waits for the next chunk and returns it.
    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        loop {
            match self.event().await {
                Some(Event::Data(chunk)) => return chunk,
                Some(Event::Note(note)) => self.notes.push(note),
                Some(Event::Connected) => {}
                None => panic!("it ended: {}", (&mut self.task).await.unwrap()),
            }
        }
    }

    /// Waits for `n` bytes in any number of chunks.
    pub(crate) async fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < n {
            bytes.extend(self.chunk().await);
        }
        assert_eq!(bytes.len(), n, "more came than expected");
        bytes
    }

    /// Whether nothing more has come by now.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.events.try_recv().is_err()
    }

    /// Waits until there are `n` notes, from the start on.
    pub(crate) async fn notes(&mut self, n: usize) -> &[Note] {
        while self.notes.len() < n {
            if let Some(Event::Note(note)) = self.event().await {
                self.notes.push(note);
            }
        }
        &self.notes
    }

    /// Waits for the end: what came until then, and why it ended.
    pub(crate) async fn end(mut self) -> (Vec<u8>, CloseCause) {
        let mut bytes = Vec::new();
        while let Some(event) = self.event().await {
            if let Event::Data(chunk) = event {
                bytes.extend(chunk);
            }
        }
        (bytes, (&mut self.task).await.unwrap())
    }

    /// Drops the source in the middle, and waits until that is done.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        assert!(within(&mut self.task).await.is_err(), "it had ended by itself");
    }

    async fn event(&mut self) -> Option<Event> {
        within(self.events.recv()).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sink for Recorder {
    fn connected(&mut self) {
        let _ = self.0.send(Event::Connected);
    }

    fn data(&mut self, chunk: &[u8]) {
        let _ = self.0.send(Event::Data(chunk.to_vec()));
    }

    fn note(&mut self, note: Note) {
        let _ = self.0.send(Event::Note(note));
    }
}

/// `outcome`, or a failed test after the deadline.
pub(crate) async fn within<T>(outcome: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, outcome).await.expect("it takes too long")
}
