//! The program that is measured: how it is started, when it is ready, how it ends.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use restreamer_core::time::Duration;
use serde::Serialize;
use tempfile::TempDir;

use crate::machine;
use crate::response::Response;
use crate::scenario::{Scenario, Transport};
use crate::target::Target;

/// How long a program may take to deliver its first byte.
const READY_MAX: Duration = Duration::from_secs(20);
/// How long it may take to end after SIGTERM.
const END_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// How much of a failed program's output is shown.
const OUTPUT_SHOWN: usize = 2_000;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A server, with the command that starts it.
    Server {
        /// A shell command. In it `{config}` stands for the name of a configuration file that is written for it,
        /// `{listen}` for `address:port`, `{port}` for the port and `{remote}` for the URL of the source.
        command: String,
        /// The path of the stream.
        path: String,
    },
    /// The loop of [`crate::reference`].
    Reference,
}

/// Where everything of one run is.
pub struct Place {
    /// Where the program is to listen.
    pub listen: SocketAddr,
    /// The URL of the source.
    pub remote: String,
    directory: TempDir,
}

/// A program that runs; dropping it ends it.
pub struct Running {
    child: Child,
    /// The stream that it serves.
    pub target: Target,
    place: Place,
}

impl Subject {
    /// The shell command for this run.
    fn command(&self, scenario: &Scenario, place: &Place) -> io::Result<String> {
        let listen = place.listen;
        Ok(match self {
            Subject::Server { command, .. } => {
                let file = place.directory.path().join("restreamer.json");
                fs::write(&file, scenario.configuration(listen, &place.remote).to_string())?;
                command
                    .replace("{config}", &file.display().to_string())
                    .replace("{listen}", &listen.to_string())
                    .replace("{port}", &listen.port().to_string())
                    .replace("{remote}", &place.remote)
            }
            Subject::Reference => {
                let this = std::env::current_exe()?;
                let (this, remote, flush) = (this.display(), &place.remote, scenario.flush_ms);
                match (scenario.viewers, scenario.transport) {
                    (0, _) => format!("'{this}' reference --from {remote} --drain {}", scenario.streams),
                    // The loop reads connections. Over UDP it makes the same chunks itself.
                    (_, Transport::Udp) => {
                        format!(
                            "'{this}' reference --bitrate {} --listen {listen} --flush {flush}",
                            scenario.bitrate
                        )
                    }
                    _ => format!("'{this}' reference --from {remote} --listen {listen} --flush {flush}"),
                }
            }
        })
    }

    fn path(&self) -> &str {
        match self {
            Subject::Server { path, .. } => path,
            Subject::Reference => "/",
        }
    }

    /// Starts the program.
    pub fn start(&self, scenario: &Scenario, remote: String) -> io::Result<Running> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let place = Place { listen, remote, directory: TempDir::with_prefix("restreamer-load-")? };
        let output = File::create(place.directory.path().join("output"))?;
        // The shell becomes the program, so that the child's PID is the program's.
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("exec {}", self.command(scenario, &place)?))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Running { child, target: Target::http(listen, self.path()), place })
    }
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the first byte of the stream can be had.
    pub fn wait_for_stream(&mut self) -> io::Result<()> {
        let target = self.target.clone();
        self.wait_for("the stream", || gives_stream(&target))
    }

    /// Waits until `ready`; fails when the program ends or takes more than 20 s.
    pub fn wait_for(&mut self, what: &str, ready: impl Fn() -> bool) -> io::Result<()> {
        let until = machine::now() + READY_MAX;
        while !ready() {
            self.assert_alive()?;
            if machine::now() >= until {
                let error = format!("{what} did not come up; {}", self.printed());
                return Err(io::Error::new(io::ErrorKind::TimedOut, error));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Fails when the program has ended.
    pub fn assert_alive(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(io::Error::other(format!("the program ended ({status}); {}", self.printed())))
            }
        }
    }

    /// Ends the program: SIGTERM, and SIGKILL when it takes too long.
    pub fn end(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // SAFETY: the call takes no pointers; the PID is that of a child which has not been waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let until = machine::now() + END_MAX;
        while machine::now() < until {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Says what it printed, the last of it.
    fn printed(&self) -> String {
        let output = fs::read(self.place.directory.path().join("output")).unwrap_or_default();
        let last = String::from_utf8_lossy(&output[output.len().saturating_sub(OUTPUT_SHOWN)..]);
        match last.trim_end() {
            "" => "it printed nothing".to_owned(),
            last => format!("it printed:\n{last}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing is left to tell about a failure here.
        let _ = self.end();
    }
}

/// A port of the loopback interface that was free a moment ago.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn gives_stream(target: &Target) -> bool {
    let read = || -> io::Result<bool> {
        let mut socket = TcpStream::connect(target.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.write_all(&target.request())?;
        let (mut response, mut buffer, mut got) = (Response::default(), [0; 4096], false);
        while !got {
            let count = socket.read(&mut buffer)?;
            if count == 0 || response.push(&buffer[..count], |_| got = true).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    read().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::tests::scenario;

    fn place() -> Place {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
        Place { listen, remote: "tcp://h:1".to_owned(), directory: TempDir::new().unwrap() }
    }

    #[test]
    fn placeholders_of_a_command_are_filled_in() {
        let server = Subject::Server {
            command: "x --config {config} -l {listen} {port} {remote}".to_owned(),
            path: "/s.ts".to_owned(),
        };
        let place = place();
        let command = server.command(&scenario(), &place).unwrap();
        let file = place.directory.path().join("restreamer.json").display().to_string();
        assert_eq!(command, format!("x --config {file} -l 127.0.0.1:8000 8000 tcp://h:1"));
        assert!(fs::read_to_string(file).unwrap().contains("\"latency\":20"));
    }

    #[test]
    fn the_reference_reads_what_it_can_and_makes_the_rest() {
        let ends_with = |scenario: Scenario, end: &str| {
            let command = Subject::Reference.command(&scenario, &place()).unwrap();
            assert!(command.ends_with(end), "{command}");
        };
        ends_with(scenario(), "reference --from tcp://h:1 --listen 127.0.0.1:8000 --flush 20");
        let udp = Scenario { transport: Transport::Udp, ..scenario() };
        ends_with(udp, "reference --bitrate 8000000 --listen 127.0.0.1:8000 --flush 20");
        let idle = Scenario { viewers: 0, streams: 7, ..scenario() };
        ends_with(idle, "reference --from tcp://h:1 --drain 7");
    }

    #[test]
    fn a_program_that_ends_early_is_reported_with_its_output() {
        let server =
            Subject::Server { command: "sh -c 'echo no port; exit 3'".to_owned(), path: "/".to_owned() };
        let mut running = server.start(&scenario(), String::new()).unwrap();
        let error = running.wait_for_stream().unwrap_err().to_string();
        assert_eq!(error, "the program ended (exit status: 3); it printed:\nno port");
    }

    #[test]
    fn a_program_that_ends_without_a_word_is_reported_as_such() {
        let server = Subject::Server { command: "false".to_owned(), path: "/".to_owned() };
        let mut running = server.start(&scenario(), String::new()).unwrap();
        let error = running.wait_for_stream().unwrap_err().to_string();
        assert_eq!(error, "the program ended (exit status: 1); it printed nothing");
    }
}
