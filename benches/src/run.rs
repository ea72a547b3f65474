//! One run: source, program, viewers; what it cost and what the viewers saw.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use restreamer_core::time::{Duration, Instant};
use serde::Serialize;

use crate::audience::{Audience, AudienceReport};
use crate::machine;
use crate::process::{self, Sample, SocketMemory, Usage};
use crate::progress::Progress;
use crate::scenario::{Scenario, Transport};
use crate::source::{Source, SourceState};
use crate::subject::{Running, Subject, free_port};

/// How often progress is shown.
const BEAT: Duration = Duration::from_secs(1);

/// Above this, what other programs use is worth a word.
const OTHERS_CORES_MAX: f64 = 0.1;

/// Everything known about one run.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// What was measured.
    pub subject: Subject,
    /// Under which load.
    pub scenario: Scenario,
    /// What the program cost.
    pub server: ServerReport,
    /// What the viewers saw.
    pub audience: AudienceReport,
    /// Bytes that the source sent in the window, over all its connections.
    pub source_bytes: u64,
    /// How late the source was at worst, milliseconds: a delay up to this much may be its own.
    pub source_late_max_ms: f64,
    /// CPU seconds per second that neither the program nor source and viewers used: what disturbed the run.
    pub others_cores: f64,
}

/// What a program cost in the window.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ServerReport {
    /// CPU time and context switches.
    pub usage: Usage,
    /// Seconds of the window.
    pub window_s: f64,
    /// CPU seconds per second.
    pub cores: f64,
    /// CPU seconds per 10⁹ bytes that viewers received; absent when nobody watched.
    pub cpu_s_per_gb: Option<f64>,
    /// Viewers that one core would feed.
    pub viewers_per_core: Option<f64>,
    /// System calls, where `perf` was asked to count them.
    pub system_calls: Option<u64>,
    /// Resident memory at the end, bytes.
    pub rss_bytes: u64,
    /// Its anonymous part.
    pub rss_anon_bytes: u64,
    /// The anonymous part before the first viewer.
    pub rss_anon_before_bytes: u64,
    /// What it grew by, for each viewer.
    pub rss_anon_per_viewer_bytes: Option<f64>,
    /// Threads.
    pub threads: u64,
    /// Kernel memory of the viewers' sockets at the server's end, where `ss` is there to tell.
    pub sockets: Option<SocketMemory>,
}

/// How a run is done, beside the load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Count system calls with `perf stat`: needs the permission, and costs the program a little.
    pub count_system_calls: bool,
    /// Show what happens on standard error.
    pub progress: bool,
}

/// Plays `scenario` to `subject`.
pub fn run(subject: &Subject, scenario: &Scenario, manner: Manner) -> io::Result<RunReport> {
    let source = Source::open(scenario.source(free_port()?))?;
    let remote = scenario.remote(source.address());
    let state = Arc::new(SourceState::default());
    let thread = thread::spawn({
        let state = Arc::clone(&state);
        move || source.run(&state)
    });
    let result = play(subject, scenario, manner, remote, &state);
    state.stop();
    let sent = thread.join().map_err(|_| io::Error::other("the source panicked"))?;
    let report = result?;
    sent?;
    Ok(report)
}

fn play(
    subject: &Subject,
    scenario: &Scenario,
    manner: Manner,
    remote: String,
    source: &SourceState,
) -> io::Result<RunReport> {
    let mut program = subject.start(scenario, remote)?;
    let progress = Progress::new(manner.progress);
    progress.say(&format!("{}: starting", scenario.name()));
    if scenario.transport != Transport::Udp {
        let connections =
            if *subject == Subject::Reference && scenario.viewers > 0 { 1 } else { scenario.streams };
        program.wait_for("the streams", || match source.clients() {
            clients if clients >= connections as u64 => Ok(()),
            clients => Err(format!("{clients} of {connections} are connected to the source")),
        })?;
    }
    if scenario.viewers > 0 {
        program.wait_for_stream()?;
    }
    thread::sleep(Duration::from_secs(scenario.warm_up_s));
    program.assert_alive()?;
    let before = Sample::take(program.pid())?;
    let mut audience = Audience::new(scenario.targets(&program.target), scenario.audience())?;
    wait_for_everybody(&mut audience, scenario, &mut program, &progress)?;
    let settled = machine::now() + Duration::from_secs(scenario.settle_s);
    audience.run_until(settled)?;

    let calls = manner
        .count_system_calls
        .then(|| count_system_calls(program.pid(), scenario.window_s))
        .transpose()?;
    let opened = machine::now();
    let start = Sample::take(program.pid())?;
    audience.open_window();
    let source_bytes = source.bytes();
    let (machine_cpu, own_cpu) = (process::machine_cpu()?, machine::own_cpu());
    let mut last = Beat { at: opened, bytes: audience.bytes(), sample: start };
    let closes = opened + Duration::from_secs(scenario.window_s);
    while machine::now() < closes {
        audience.run_until(closes.min(machine::now() + BEAT))?;
        program.assert_alive()?;
        last = last.show(&audience, program.pid(), &progress, closes)?;
    }
    let end = Sample::take(program.pid())?;
    let window = machine::now().saturating_since(opened);
    let own_cpu = machine::own_cpu().saturating_sub(own_cpu) + end.cpu.saturating_sub(start.cpu);
    let others = process::machine_cpu()?.saturating_sub(machine_cpu).saturating_sub(own_cpu);
    let mut report = RunReport {
        subject: subject.clone(),
        scenario: scenario.clone(),
        server: ServerReport::new(&start, &end, window),
        audience: audience.report(),
        source_bytes: source.bytes() - source_bytes,
        others_cores: others.as_secs_f64() / window.as_secs_f64(),
        source_late_max_ms: source.late_max().as_secs_f64() * 1000.0,
    };
    report.server.sockets = SocketMemory::of_local_port(program.target.address.port());
    report.server.system_calls = calls.map(counted).transpose()?;
    report.server.relate(&before, scenario.viewers, report.audience.bytes);
    progress.end();
    if report.others_cores > OTHERS_CORES_MAX {
        progress.say(&format!("other programs used {:.2} cores meanwhile", report.others_cores));
    }
    program.end()?;
    Ok(report)
}

impl ServerReport {
    fn new(start: &Sample, end: &Sample, window: Duration) -> ServerReport {
        let (usage, window_s) = (end.since(start), window.as_secs_f64());
        ServerReport {
            usage,
            window_s,
            cores: usage.cpu_s / window_s,
            rss_bytes: end.rss_bytes,
            rss_anon_bytes: end.rss_anon_bytes,
            threads: end.threads,
            ..ServerReport::default()
        }
    }

    /// Adds what depends on the viewers.
    fn relate(&mut self, before: &Sample, viewers: usize, bytes: u64) {
        self.rss_anon_before_bytes = before.rss_anon_bytes;
        if viewers > 0 {
            let grown = self.rss_anon_bytes as f64 - before.rss_anon_bytes as f64;
            self.rss_anon_per_viewer_bytes = Some(grown / viewers as f64);
        }
        if bytes > 0 {
            self.cpu_s_per_gb = Some(self.usage.cpu_s / (bytes as f64 / 1e9));
        }
        if viewers > 0 && self.cores > 0.0 {
            self.viewers_per_core = Some(viewers as f64 / self.cores);
        }
    }
}

fn wait_for_everybody(
    audience: &mut Audience,
    scenario: &Scenario,
    program: &mut Running,
    progress: &Progress,
) -> io::Result<()> {
    let until = machine::now() + scenario.audience().joining();
    while !audience.everybody_is_in() && machine::now() < until {
        audience.run_until(machine::now() + Duration::from_millis(100))?;
        program.assert_alive()?;
        progress.show(&format!("{} of {} viewers are in", audience.streaming(), scenario.viewers));
    }
    if !audience.everybody_is_in() {
        progress.say(&format!("{} viewers have not got a byte yet", audience.waiting()));
    }
    Ok(())
}

/// What the line of progress before said.
struct Beat {
    at: Instant,
    bytes: u64,
    sample: Sample,
}

impl Beat {
    fn show(self, audience: &Audience, pid: u32, progress: &Progress, closes: Instant) -> io::Result<Beat> {
        let next = Beat { at: machine::now(), bytes: audience.bytes(), sample: Sample::take(pid)? };
        let seconds = next.at.saturating_since(self.at).as_secs_f64().max(0.001);
        let mbit = (next.bytes - self.bytes) as f64 * 8.0 / 1e6 / seconds;
        let percent = next.sample.since(&self.sample).cpu_s / seconds * 100.0;
        progress.show(&format!(
            "{:.0} s to go: {} viewers, {mbit:.0} Mbit/s, {} packets lost, CPU {percent:.0} %, RSS {:.1} MiB",
            closes.saturating_since(next.at).as_secs_f64(),
            audience.streaming(),
            audience.lost(),
            next.sample.rss_bytes as f64 / f64::from(1 << 20),
        ));
        Ok(next)
    }
}

fn count_system_calls(pid: u32, seconds: u64) -> io::Result<Child> {
    Command::new("perf")
        .args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string(), "--"])
        .args(["sleep", &seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

fn counted(perf: Child) -> io::Result<u64> {
    let output = perf.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let count = text.lines().find_map(|line| line.split_once(',')?.0.parse().ok());
    count.ok_or_else(|| io::Error::other(format!("perf counted nothing: {text}")))
}
