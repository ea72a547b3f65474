//! A looped recording, as a decoder sees it: more than a minute of it must give ffmpeg nothing to complain about.

use restreamer_core::playout::{AtEnd, Next, Playout};
use restreamer_core::ts::{Packet, Pcr, PesHeader, Pid, Timestamp};
use restreamer_core::{Duration, Instant};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const AT_LEAST: Duration = Duration::from_secs(60);

/// What viewers get of a looped recording, by a clock that is only counted: whole rounds, for at least a minute.
fn looped(recording: &[u8]) -> (Vec<u8>, Duration) {
    let mut playout = Playout::new();
    let mut input = recording.chunks(10_000);
    let mut out = Vec::new();
    let start = Instant::from_millis(1_000);
    let mut now = start;
    loop {
        match playout.next_batch(now) {
            Next::Batch(batch) => {
                now = now.max(batch.at);
                out.extend_from_slice(&batch.bytes);
            }
            Next::NeedInput => match input.next() {
                Some(chunk) => playout.push(chunk),
                None if now < start + AT_LEAST => {
                    playout.end_of_input(AtEnd::Repeat);
                    input = recording.chunks(10_000);
                }
                None => playout.end_of_input(AtEnd::Finish),
            },
            end => {
                assert_eq!(end, Next::Finished);
                assert_eq!((playout.stats().slips, playout.stats().clock_jumps), (0, 0));
                return (out, now.saturating_since(start));
            }
        }
    }
}

fn demo() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemon/assets/demo.ts");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_demo_tiles_to_the_tick() {
    let recording = demo();
    let (out, duration) = looped(&recording);
    assert_eq!(out.len(), 10 * recording.len());
    assert!(duration.abs_diff(Duration::from_secs(64)) < Duration::from_millis(40), "{duration:?}");
    let steps = |times: Vec<Timestamp>| -> Vec<i64> {
        times.windows(2).map(|pair| pair[1].ticks_since(pair[0])).collect()
    };
    for (pid, ticks) in [(0x100, 3_600), (0x101, 1_920)] {
        let heads = Packet::all(&out).filter(|packet| packet.pid() == Pid::new(pid));
        let steps = steps(heads.filter_map(|packet| PesHeader::of(&packet)?.pts).collect());
        assert!(steps.len() > 1_000);
        assert!(steps.iter().all(|&step| step == ticks), "PID {pid:#x}: {steps:?}");
    }
    let clock: Vec<Pcr> = Packet::all(&out).filter_map(|packet| packet.adaptation()?.pcr()).collect();
    let step = Pcr::HZ as i64 / 25;
    assert!(clock.windows(2).all(|pair| pair[1].ticks_since(pair[0]) == step));

    let first: Vec<_> = Packet::all(&recording).take(3).collect();
    assert_eq!(first[0].pid(), Pid::PAT);
    assert_eq!(first[1].pid(), Pid::new(0x1000));
    assert!(first[2].adaptation().is_some_and(|field| field.random_access() && field.pcr().is_some()));
}

#[test]
fn ffmpeg_decodes_the_looped_demo_without_a_word() {
    let directory = Scratch::new("demo");
    check_with_ffmpeg(&directory, &demo(), ["h264", "aac"]);
}

#[test]
fn ffmpeg_decodes_other_looped_recordings_without_a_word() {
    // Audio frames in groups and B frames; constant bit rate with null packets, MPEG-2 and layer II.
    let cases = [
        ("grouped", ["h264", "aac"], "-c:v libx264 -g 25 -bf 2 -c:a aac"),
        ("constant", ["mpeg2video", "mp2"], "-c:v mpeg2video -g 12 -b:v 1M -c:a mp2 -b:a 128k -muxrate 2M"),
    ];
    for (name, codecs, options) in cases {
        let directory = Scratch::new(name);
        let recording = directory.0.join("recording.ts");
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"])
            .args(["-f", "lavfi", "-i", "sine=440:sample_rate=48000", "-t", "3.2"])
            .args(options.split(' '))
            .arg(&recording)
            .output();
        match made {
            Ok(made) => assert!(made.status.success(), "{name}: {}", text(&made.stderr)),
            Err(error) => return skipped(&error),
        }
        check_with_ffmpeg(&directory, &std::fs::read(&recording).unwrap(), codecs);
    }
}

/// Requires that ffmpeg decodes the looped recording without warnings, and that ffprobe finds both codecs.
fn check_with_ffmpeg(directory: &Scratch, recording: &[u8], codecs: [&str; 2]) {
    let file = directory.0.join("looped.ts");
    let (out, duration) = looped(recording);
    std::fs::write(&file, out).unwrap();
    let decoded =
        Command::new("ffmpeg").args(["-v", "warning", "-i"]).arg(&file).args(["-f", "null", "-"]).output();
    let decoded = match decoded {
        Ok(output) => output,
        Err(error) => return skipped(&error),
    };
    assert!(decoded.status.success());
    assert_eq!(text(&decoded.stderr), "", "ffmpeg complains about {codecs:?}");

    let entries = "stream=codec_name:format=duration";
    let probe = ["-v", "error", "-show_entries", entries, "-of", "default=nw=1:nk=1"];
    let stdout = Command::new("ffprobe").args(probe).arg(&file).output().unwrap().stdout;
    let found = text(&stdout);
    let mut lines = found.lines();
    assert_eq!([lines.next(), lines.next()], codecs.map(Some), "{found}");
    let seconds: f64 = found.lines().last().unwrap().parse().unwrap();
    assert!((seconds - duration.as_secs_f64()).abs() < 0.2, "{seconds} s, {duration:?}");
}

fn skipped(error: &std::io::Error) {
    // Past the capture of the test harness: a test that did not run must be seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED: ffmpeg does not run here ({error}): nothing was decoded");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("restreamer-loop-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
