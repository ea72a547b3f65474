//! What a process costs, seen from outside through `/proc`.

use std::fs;
use std::io;
use std::process::Command;

use restreamer_core::time::Duration;
use serde::Serialize;

/// Counters of a process at one moment; subtract two with [`Sample::since`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// User and system time of all its threads, past ones too, children not; exact to the nanosecond.
    pub cpu: Duration,
    /// The system part of it, as the kernel estimates it; exact to a clock tick (10 ms).
    pub system: Duration,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Its anonymous part: heap and stacks, without program text.
    pub rss_anon_bytes: u64,
    /// Threads that live.
    pub threads: u64,
    /// Times that its living threads went to sleep.
    pub switches_voluntary: u64,
    /// Times that they were put aside.
    pub switches_involuntary: u64,
}

/// What happened between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// CPU seconds, user and system.
    pub cpu_s: f64,
    /// The system part.
    pub system_s: f64,
    /// Voluntary context switches.
    pub switches_voluntary: u64,
    /// Involuntary context switches.
    pub switches_involuntary: u64,
}

/// Memory that the kernel holds for sockets, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SocketMemory {
    /// Sockets counted.
    pub sockets: u64,
    /// Received and not read.
    pub receive_bytes: u64,
    /// Written and not acknowledged or not sent, with the kernel's overhead.
    pub send_bytes: u64,
    /// Set aside ahead of need.
    pub forward_bytes: u64,
}

impl Sample {
    /// The counters of process `pid` now. Fails when it is gone.
    pub fn take(pid: u32) -> io::Result<Sample> {
        let mut sample = Sample::default();
        let tick = ticks_per_second();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let system = system_ticks(&stat).ok_or_else(|| malformed("stat"))?;
        sample.cpu = cpu_time(pid)?;
        sample.system = Duration::from_nanos(system * 1_000_000_000 / tick);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        sample.rss_bytes = field(&status, "VmRSS:").ok_or_else(|| malformed("status"))? * 1024;
        sample.rss_anon_bytes = field(&status, "RssAnon:").ok_or_else(|| malformed("status"))? * 1024;
        sample.threads = field(&status, "Threads:").ok_or_else(|| malformed("status"))?;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between the listing and the read.
            let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
            sample.switches_voluntary += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            sample.switches_involuntary += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        Ok(sample)
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Sample) -> Usage {
        Usage {
            cpu_s: self.cpu.saturating_sub(earlier.cpu).as_secs_f64(),
            system_s: self.system.saturating_sub(earlier.system).as_secs_f64(),
            switches_voluntary: self.switches_voluntary.saturating_sub(earlier.switches_voluntary),
            switches_involuntary: self.switches_involuntary.saturating_sub(earlier.switches_involuntary),
        }
    }
}

impl SocketMemory {
    /// Memory of the established TCP sockets whose local port is `port`: the server's ends of its viewers. Asks
    /// `ss`; `None` when that program is missing or does not answer.
    pub fn of_local_port(port: u16) -> Option<SocketMemory> {
        let filter = format!("( sport = :{port} )");
        let output = Command::new("ss").args(["-tmnH", "state", "established", &filter]).output().ok()?;
        output.status.success().then(|| SocketMemory::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// All bytes together.
    pub fn bytes(&self) -> u64 {
        self.receive_bytes + self.send_bytes + self.forward_bytes
    }

    fn parse(text: &str) -> SocketMemory {
        let mut memory = SocketMemory::default();
        for entry in text.split("skmem:(").skip(1) {
            let Some((values, _)) = entry.split_once(')') else { continue };
            memory.sockets += 1;
            for value in values.split(',') {
                // `rb`, `tb`, `bl` are limits; `r`, `w`, `f` and a digit are amounts. What is queued for sending
                // (`w`) contains what is on its way (`t`).
                let Some(at) = value.find(|c: char| c.is_ascii_digit()) else { continue };
                let Ok(bytes) = value[at..].parse::<u64>() else { continue };
                match &value[..at] {
                    "r" => memory.receive_bytes += bytes,
                    "w" => memory.send_bytes += bytes,
                    "f" => memory.forward_bytes += bytes,
                    _ => {}
                }
            }
        }
        memory
    }
}

/// CPU time that all programs of this machine together have used since it was started.
pub fn machine_cpu() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks = busy_ticks(&stat).ok_or_else(|| malformed("stat"))?;
    Ok(Duration::from_nanos(ticks * 1_000_000_000 / ticks_per_second()))
}

/// The first line of `/proc/stat` without idle time, waiting for I/O and guests, who are counted as user time too
/// (proc_stat(5)).
fn busy_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let mut sum = 0;
    for name in ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"] {
        let ticks: u64 = fields.next()?.parse().ok()?;
        sum += if matches!(name, "idle" | "iowait") { 0 } else { ticks };
    }
    Some(sum)
}

/// `stime` of a `/proc/PID/stat` line (proc_pid_stat(5), field 15). The name of the program stands in parentheses and
/// may contain anything, so the fields are counted from the last `)`.
fn system_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(12)?.parse().ok()
}

/// The CPU-time clock of a process (clock_getcpuclockid(3)): a tick of `/proc/PID/stat` is some per cent of what a
/// server uses in a window.
fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::NotFound)?;
    let mut clock = 0;
    // SAFETY: the pointer is to a local variable that the call fills.
    let error = unsafe { libc::clock_getcpuclockid(pid, &mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the same.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// The number after `name` at the beginning of a line.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn ticks_per_second() -> u64 {
    // SAFETY: the call takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|&ticks| ticks > 0).unwrap_or(100)
}

fn malformed(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} in /proc has another form than expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_time_is_found_behind_any_program_name() {
        let fields =
            "S 1 2 3 0 -1 4194560 900 0 7 0 123 45 6 7 20 0 5 0 999 1000000 250 18446744073709551615";
        for name in ["restreamer", "a) S 9 (b", ""] {
            assert_eq!(system_ticks(&format!("4242 ({name}) {fields}")), Some(45));
        }
        assert_eq!(system_ticks("4242 (x) S 1 2"), None);
        assert_eq!(system_ticks(""), None);
    }

    #[test]
    fn idle_time_is_not_used_time() {
        assert_eq!(busy_ticks("cpu  10 20 30 1000 2000 4 5 6 7 8\ncpu0 1 2 3\n"), Some(75));
        assert_eq!(busy_ticks("intr 5"), None);
        assert!(machine_cpu().unwrap() > Duration::ZERO);
    }

    #[test]
    fn a_status_field_is_matched_from_the_beginning_of_its_line() {
        let status = "VmRSS:\t    3400 kB\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(status, "VmRSS:"), Some(3400));
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(150));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(status, "RssAnon:"), None);
    }

    #[test]
    fn socket_memory_adds_amounts_and_leaves_limits_out() {
        let text = "0 20736 127.0.0.1:8000 127.0.0.1:40000 \n\t skmem:(r0,rb131072,t0,tb2626560,f3840,w25472,o0,bl0,d0)\n\
                    0 0 127.0.0.1:8000 127.0.0.1:40002 \n\t skmem:(r512,rb131072,t0,tb87040,f0,w0,o0,bl0,d3)\n";
        let memory = SocketMemory::parse(text);
        let expected =
            SocketMemory { sockets: 2, receive_bytes: 512, send_bytes: 25_472, forward_bytes: 3_840 };
        assert_eq!(memory, expected);
        assert_eq!(memory.bytes(), 29_824);
    }

    #[test]
    fn this_process_has_memory_threads_and_a_past() {
        let first = Sample::take(std::process::id()).unwrap();
        assert!(first.rss_bytes >= first.rss_anon_bytes && first.rss_anon_bytes > 0);
        assert!(first.threads >= 1);
        let second = Sample::take(std::process::id()).unwrap();
        assert_eq!(first.since(&second).cpu_s, 0.0, "time does not run backwards");
        assert!(second.cpu > first.cpu && first.cpu > Duration::ZERO);
        assert!(Sample::take(u32::MAX / 2).is_err());
    }
}
