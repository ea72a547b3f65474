//! ffmpeg as the encoder in front of the server.

use std::process::Command;

use super::{Process, clip, signal};

/// An ffmpeg that plays the clip for ever, three times as fast as it was made, so that tests need not wait so long.
pub(crate) struct Feed {
    process: Process,
    args: Vec<String>,
}

/// Arguments that make ffmpeg play the clip; its output follows them.
pub(crate) fn playing() -> Vec<String> {
    let clip = clip();
    let input =
        ["-nostdin", "-v", "error", "-readrate", "3", "-stream_loop", "-1", "-i", clip.to_str().unwrap()];
    let output = ["-c", "copy", "-f", "mpegts", "-y"];
    input.iter().chain(&output).map(|&arg| arg.to_owned()).collect()
}

impl Feed {
    /// Plays to an output of ffmpeg; `args` are its options and its URL.
    pub(crate) fn to<'a>(args: impl IntoIterator<Item = &'a str>) -> Feed {
        let mut all = playing();
        all.extend(args.into_iter().map(str::to_owned));
        Feed { process: spawn(&all), args: all }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// It stands still: what it has open stays open, and nothing comes.
    pub(crate) fn freeze(&self) {
        signal(self.process.id(), libc::SIGSTOP);
    }

    /// Starts it again after it was killed.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.args);
    }
}

fn spawn(args: &[String]) -> Process {
    let mut command = Command::new("ffmpeg");
    command.args(args);
    Process::start(&mut command)
}
