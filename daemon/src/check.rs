//! What `--check` prints: what a configuration means, what it needs, and what looks wrong.

use std::fmt;
use std::time::Duration;

use restreamer_core::{Join, Order, Slow};
use restreamer_io::answer::Framing;
use restreamer_io::api::Api;

use crate::config::{Authentication, Config, Endpoint, LogTarget, Report, StreamResource};
use crate::descriptors::{self, DescriptorLimit};
use crate::memory::MemoryWorstCase;

/// Everything there is to say about a configuration that has no errors. Prints as several lines.
#[derive(Debug)]
pub struct Check<'a> {
    /// The name of the file, or what stands for it.
    pub name: &'a str,
    /// What it means.
    pub config: &'a Config,
    /// Its warnings and notes.
    pub report: &'a Report,
    /// The descriptors that the process may have.
    pub limit: DescriptorLimit,
}

/// Says so when `limit` is less than what the configuration needs.
pub fn descriptor_warning(config: &Config, limit: u64) -> Option<String> {
    let needed = descriptors::needed(config);
    (limit < needed).then(|| {
        format!(
            "{limit} file descriptors are too few: maxconnections {} needs {needed}; raise the limit \
             (ulimit -n, LimitNOFILE=)",
            config.connections_max
        )
    })
}

impl fmt::Display for Check<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warnings = self.warnings();
        writeln!(f, "{}: no errors, {}", self.name, counted(warnings.len(), "warning"))?;
        for warning in &warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        for note in &self.report.notes {
            writeln!(f, "  note: {note}")?;
        }
        self.server(f)?;
        for stream in &self.config.streams {
            describe(f, stream)?;
        }
        self.other_resources(f)?;
        self.memory(f)?;
        self.descriptors(f)
    }
}

impl Check<'_> {
    fn warnings(&self) -> Vec<String> {
        let found = self.report.warnings.iter().map(ToString::to_string);
        // At start the soft limit is raised to the hard one, so that only the latter counts.
        found.chain(descriptor_warning(self.config, self.limit.hard)).collect()
    }

    fn server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config;
        writeln!(f, "\nserver")?;
        for listener in &config.listeners {
            let tls = if listener.tls.is_some() { " (TLS)" } else { "" };
            row(f, "listen", format_args!("{}{tls}", listener.address))?;
        }
        row(f, "threads", config.threads)?;
        match &config.log {
            LogTarget::Stdout => row(f, "log", "standard output")?,
            LogTarget::File(path) => row(f, "log", path.display())?,
        }
        match &config.profile {
            Some(address) => row(f, "profile", address)?,
            None => row(f, "profile", "off")?,
        }
        row(f, "maxconnections", limit(config.connections_max))?;
        row(f, "fullconnections", limit(config.connections_full))?;
        for notification in &config.notifications {
            row(f, "notification", format_args!("{}: {}", notification.event.name(), notification.target))?;
        }
        if let Some(interval) = config.heartbeat {
            row(f, "heartbeat", format_args!("every {}", Span(interval)))?;
        }
        Ok(())
    }

    fn other_resources(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for resource in &self.config.statics {
            heading(f, &resource.endpoint, "static")?;
            row(f, "remote", &resource.remote)?;
            row(f, "cache", Span(resource.cache))?;
        }
        for resource in &self.config.apis {
            let stream = |id: restreamer_io::route::StreamId| match self.config.streams.get(id.0 as usize) {
                Some(stream) => stream.endpoint.serve.label(),
                None => "",
            };
            let what = match resource.api {
                Api::Health => "health".to_owned(),
                Api::Statistics => "statistics".to_owned(),
                Api::Prometheus => "prometheus".to_owned(),
                Api::Events => "events".to_owned(),
                Api::Check(id) => format!("check of {}", stream(id)),
                Api::Control(id) => format!("control of {}", stream(id)),
            };
            heading(f, &resource.endpoint, &what)?;
        }
        Ok(())
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = MemoryWorstCase::of(self.config);
        writeln!(f, "\nmemory at worst")?;
        let copies = 1 + self.config.threads.get();
        row(f, "rings", format_args!("{} (each counted {copies} times: 1 + threads)", Bytes(memory.rings)))?;
        let viewer = format!("{} in the kernel + {}", Bytes(memory.viewer_kernel), Bytes(memory.viewer_user));
        match (memory.viewers, memory.total()) {
            (Some(viewers), Some(total)) => {
                let count = self.config.connections_max;
                row(f, "viewers", format_args!("{} ({count} × ({viewer}))", Bytes(viewers)))?;
                row(f, "together", Bytes(total))
            }
            _ => row(f, "viewers", format_args!("{viewer} each, and maxconnections sets no limit")),
        }
    }

    fn descriptors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = descriptors::needed(self.config);
        writeln!(f, "\nfile descriptors")?;
        match self.config.connections_max {
            0 => row(f, "needed", format_args!("{needed}, and one for every viewer"))?,
            _ => row(f, "needed", needed)?,
        }
        match self.limit {
            DescriptorLimit { soft, hard } if soft < hard => {
                row(f, "limit", format_args!("{hard} (raised from {soft} at start)"))
            }
            DescriptorLimit { hard, .. } => row(f, "limit", hard),
        }
    }
}

fn describe(f: &mut fmt::Formatter<'_>, stream: &StreamResource) -> fmt::Result {
    let StreamResource { options, tuning, .. } = stream;
    heading(f, &stream.endpoint, "stream")?;
    for source in stream.sources.iter() {
        row(f, "remote", source)?;
    }
    if stream.sources.len() > 1 {
        row(
            f,
            "order",
            match tuning.order {
                Order::Shuffle => "shuffle",
                Order::Priority => "priority",
            },
        )?;
    }
    row(f, "timeout", off_or(options.connect_timeout))?;
    match stream.reconnect {
        Some(interval) => row(f, "reconnect", Span(interval))?,
        None => row(f, "reconnect", "never: each remote is tried once")?,
    }
    row(f, "readtimeout", off_or(stream.read_timeout))?;
    if let Some(interface) = &options.interface {
        row(f, "clientinterface", interface)?;
    }
    if options.looped {
        row(f, "loop", "yes")?;
    }
    row(f, "grace", Span(tuning.grace))?;
    let ring = Bytes(stream.ring_bytes_max);
    row(f, "ring", format_args!("{} packets at least, {ring} at most", stream.ring_packets_min))?;
    match tuning.join {
        Join::Keyframe => row(f, "join", "keyframe")?,
        Join::Live => row(f, "join", "live")?,
        Join::Behind(delay) => row(f, "join", format_args!("{} behind live", Span(delay)))?,
    }
    row(
        f,
        "slow",
        match tuning.slow {
            Slow::Keyframe => "keyframe",
            Slow::Oldest => "oldest",
            Slow::Live => "live",
            Slow::Disconnect => "disconnect",
        },
    )?;
    let packets = stream.lag_packets_min;
    match tuning.lag_max {
        Some(lag) => row(f, "lag", format_args!("{} or {packets} packets, what is more", Span(lag)))?,
        None => row(f, "lag", "as far as the ring reaches")?,
    }
    row(f, "stalltimeout", off_or(tuning.stall_limit))?;
    row(f, "latency", Span(tuning.latency))?;
    match tuning.send_buffer_bytes {
        Some(bytes) => row(f, "sendbuffer", Bytes(u64::from(bytes)))?,
        None => row(f, "sendbuffer", "as the system tunes it")?,
    }
    let framing = match tuning.framing {
        Framing::Close => "close",
        Framing::Chunked => "chunked",
    };
    let content_type = String::from_utf8_lossy(tuning.content_type.as_bytes());
    row(
        f,
        "answer",
        format_args!("{content_type}, framing {framing}, refused with {}", tuning.refuse_status.as_u16()),
    )?;
    match &stream.preamble {
        Some(path) => row(f, "preamble", path.display()),
        None => Ok(()),
    }
}

fn heading(f: &mut fmt::Formatter<'_>, endpoint: &Endpoint, what: &str) -> fmt::Result {
    let access = match &endpoint.authentication {
        Authentication::Open => String::new(),
        Authentication::Basic { users, .. } => format!(", basic for {}", counted(users.len(), "user")),
        Authentication::Bearer { users } => format!(", bearer for {}", counted(users.len(), "user")),
    };
    writeln!(f, "\n{} ({what}{access})", endpoint.serve.label())
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<16} {value}")
}

pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn limit(count: u32) -> String {
    if count == 0 { "no limit".to_owned() } else { count.to_string() }
}

fn off_or(time: Option<Duration>) -> String {
    time.map_or_else(|| "off".to_owned(), |time| Span(time).to_string())
}

/// A time as people say it.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 {
            write!(f, "{} s", self.0.as_secs())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}

/// An amount of memory as people say it.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let mut amount = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while amount >= 1024.0 && unit + 1 < UNITS.len() {
            amount /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(amount.fract() >= 0.05 && amount < 100.0);
        write!(f, "{amount:.digits$} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: DescriptorLimit = DescriptorLimit { soft: 1024, hard: 4096 };

    fn check(text: &str) -> String {
        let (config, report) = Config::parse("restreamer.json", text.as_bytes()).unwrap();
        Check { name: "restreamer.json", config: &config, report: &report, limit: LIMIT }.to_string()
    }

    #[test]
    fn a_check_shows_what_is_in_force() {
        let text = r#"{
            "listen": [":8000", "unix:/run/restreamer.sock"], "threads": 2, "maxconnections": 5000, "fullconnections": 4000,
            "MaxConnections": 5000, "maxlag": 1500, "color": true,
            "userlist": { "anna": { "password": "hunter2" } },
            "resources": [
                { "type": "stream", "serve": "/news.ts", "remotes": ["http://anna:hunter2@o1/news", "udp://@239.1.1.1:5000"],
                  "clientinterface": "eth7", "preamble": "/srv/hello.ts", "join": 2500,
                  "authentication": { "type": "bearer", "user": "anna" } },
                { "type": "static", "serve": "/logo.png", "remote": "file:///srv/logo.png", "cache": 60 },
                { "type": "api", "api": "check", "serve": "/check", "remote": "/news.ts" }
            ],
            "notifications": [{ "event": "heartbeat", "type": "url", "url": "http://u:hunter2@lb/beat" }]
        }"#;
        let expected = "\
restreamer.json: no errors, 2 warnings
  warning: color: unknown key, ignored
  warning: 4096 file descriptors are too few: maxconnections 5000 needs 5149; raise the limit (ulimit -n, LimitNOFILE=)
  note: maxconnections: given 2 times; the last one counts

server
  listen           :8000
  listen           unix:/run/restreamer.sock
  threads          2
  log              standard output
  profile          off
  maxconnections   5000
  fullconnections  4000
  notification     heartbeat: http://lb/beat
  heartbeat        every 60 s

/news.ts (stream, bearer for 1 user)
  remote           http://o1/news
  remote           udp://@239.1.1.1:5000
  order            shuffle
  timeout          off
  reconnect        10 s
  readtimeout      off
  clientinterface  eth7
  grace            15 s
  ring             1000 packets at least, 16 MiB at most
  join             2500 ms behind live
  slow             keyframe
  lag              1500 ms or 400 packets, what is more
  stalltimeout     30 s
  latency          20 ms
  sendbuffer       256 KiB
  answer           video/mpeg, framing close, refused with 404
  preamble         /srv/hello.ts

/logo.png (static)
  remote           /srv/logo.png
  cache            60 s

/check (check of /news.ts)

memory at worst
  rings            48.2 MiB (each counted 3 times: 1 + threads)
  viewers          2.5 GiB (5000 × (512 KiB in the kernel + 2 KiB))
  together         2.5 GiB

file descriptors
  needed           5149
  limit            4096 (raised from 1024 at start)
";
        assert_eq!(check(text), expected);
    }

    #[test]
    fn without_maxconnections_there_is_no_total() {
        let text = check(r#"{ "resources": [{ "type": "stream", "serve": "/a", "remote": "tcp://h:1" }] }"#);
        assert!(text.starts_with("restreamer.json: no errors, 0 warnings\n\nserver\n"), "{text}");
        assert!(text.contains(
            "  viewers          512 KiB in the kernel + 2 KiB each, and maxconnections sets no limit\n"
        ));
        assert!(text.contains(", and one for every viewer\n"));
    }

    #[test]
    fn amounts_and_times_read_well() {
        let table =
            [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"), (1 << 24, "16 MiB")];
        for (bytes, text) in table {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(Bytes(u64::MAX).to_string(), "16777216 TiB");
        assert_eq!(Span(Duration::from_millis(1500)).to_string(), "1500 ms");
        assert_eq!(Span(Duration::ZERO).to_string(), "0 s");
    }
}
