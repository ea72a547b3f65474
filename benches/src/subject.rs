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
use crate::response::{NotAStream, Response};
use crate::scenario::{Scenario, Transport};
use crate::target::Target;

/// How long a program may take to deliver its first byte.
const READY_MAX: Duration = Duration::from_secs(20);
/// How long it may take to end after SIGTERM.
const END_MAX: Duration = Duration::from_secs(5);
/// How long it may keep silent to a question for the stream, before that is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(1);
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
    ready_max: Duration,
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
        Ok(Running { child, target: Target::http(listen, self.path()), place, ready_max: READY_MAX })
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
        self.wait_for("the stream", || ask_for_stream(&target))
    }

    /// Waits until `ready`, which otherwise says what is amiss; fails when the program ends or takes more than 20 s.
    pub fn wait_for(&mut self, what: &str, ready: impl Fn() -> Result<(), String>) -> io::Result<()> {
        let until = machine::now() + self.ready_max;
        while let Err(amiss) = ready() {
            self.assert_alive()?;
            if machine::now() >= until {
                let error = format!("{what} did not come up: {amiss}; the program {}", self.printed());
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
                Err(io::Error::other(format!("the program ended ({status}); it {}", self.printed())))
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
            "" => "printed nothing".to_owned(),
            last => format!("printed:\n{last}"),
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

/// Reads the first byte of the stream; the error says what came instead.
fn ask_for_stream(target: &Target) -> Result<(), String> {
    let path = target.path();
    let mut socket = TcpStream::connect(target.address)
        .map_err(|error| format!("could not connect to {}: {error}", target.address))?;
    let asked = socket.set_read_timeout(Some(ANSWER_MAX)).and_then(|()| socket.write_all(&target.request()));
    asked.map_err(|error| format!("{path} could not be asked for: {error}"))?;
    let (mut response, mut buffer, mut got) = (Response::default(), [0; 4096], false);
    while !got {
        let count = socket.read(&mut buffer).map_err(|error| match (error.kind(), response.in_body()) {
            (io::ErrorKind::WouldBlock, false) => format!("{path} was not answered within {ANSWER_MAX:?}"),
            (io::ErrorKind::WouldBlock, true) => {
                format!("{path} was answered with 200, and no byte followed within {ANSWER_MAX:?}")
            }
            _ => format!("the answer to {path} broke off: {error}"),
        })?;
        if count == 0 {
            return Err(format!("the answer to {path} ended before the first byte of a stream"));
        }
        response.push(&buffer[..count], |_| got = true).map_err(|why| match why {
            NotAStream::Status(status) => format!("{path} was answered with {status} (see --path)"),
            NotAStream::Malformed(_) => format!("{path}: {why}"),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::tests::scenario;
    use std::net::Shutdown;

    /// A server that gives one `answer` to the path `/wrong.ts`, whatever is asked, and goes when the asker does.
    fn answers(answer: &'static str, then: Then) -> Target {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = Target::http(listener.local_addr().unwrap(), "/wrong.ts");
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(socket.read(&mut request).unwrap() > 0);
            socket.write_all(answer.as_bytes()).unwrap();
            if then == Then::Ends {
                socket.shutdown(Shutdown::Write).unwrap();
            }
            while socket.read(&mut request).is_ok_and(|count| count > 0) {}
        });
        target
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Then {
        Stays,
        Ends,
    }

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
    fn what_came_instead_of_a_stream_is_said() {
        let ok = "HTTP/1.1 200 OK\r\n\r\n";
        for (answer, then, said) in [
            (
                "HTTP/1.1 404 Not Found\r\n\r\n",
                Then::Stays,
                "/wrong.ts was answered with 404 Not Found (see --path)",
            ),
            ("SSH-2.0-x\r\n", Then::Stays, "/wrong.ts: the server does not speak HTTP/1: bad head"),
            ("", Then::Stays, "/wrong.ts was not answered within 1s"),
            (ok, Then::Stays, "/wrong.ts was answered with 200, and no byte followed within 1s"),
            (ok, Then::Ends, "the answer to /wrong.ts ended before the first byte of a stream"),
        ] {
            assert_eq!(ask_for_stream(&answers(answer, then)), Err(said.to_owned()));
        }
        assert_eq!(ask_for_stream(&answers("HTTP/1.1 200 OK\r\n\r\nG", Then::Stays)), Ok(()));
    }

    #[test]
    fn a_stream_that_does_not_come_up_is_reported_with_the_answer_and_the_output() {
        let server = Subject::Server { command: "sleep 60".to_owned(), path: "/".to_owned() };
        let mut running = server.start(&scenario(), String::new()).unwrap();
        running.ready_max = Duration::ZERO;
        let refused = running.wait_for_stream().unwrap_err().to_string();
        let address = running.target.address;
        let not_up = "the stream did not come up:";
        assert!(refused.starts_with(&format!("{not_up} could not connect to {address}: ")), "{refused}");
        running.target = answers("HTTP/1.1 404 Not Found\r\n\r\n", Then::Stays);
        let missing = running.wait_for_stream().unwrap_err().to_string();
        assert!(
            missing.starts_with(&format!("{not_up} /wrong.ts was answered with 404 Not Found")),
            "{missing}"
        );
        assert!(missing.ends_with("; the program printed nothing"), "{missing}");
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
