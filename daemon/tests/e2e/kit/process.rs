//! Child processes that do not outlive their test.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::wait_until;

/// A child process, killed when dropped; what it says on standard error is shown when the test fails.
pub(crate) struct Process {
    name: String,
    child: Child,
    errors: Arc<Mutex<Vec<u8>>>,
    listening: JoinHandle<()>,
}

impl Process {
    /// Starts `command` in a process group of its own, with nothing on its standard input.
    pub(crate) fn start(command: &mut Command) -> Process {
        let name = format!("{:?}", command.get_program());
        command.stdin(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        // SAFETY: prctl with these arguments takes no pointers and is safe between fork and exec.
        unsafe { command.pre_exec(end_with_the_test) };
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let errors = Arc::<Mutex<Vec<u8>>>::default();
        let mut pipe = child.stderr.take().unwrap();
        let listening = std::thread::spawn({
            let errors = Arc::clone(&errors);
            move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                    errors.lock().unwrap().extend_from_slice(&buffer[..n]);
                }
            }
        });
        Process { name, child, errors, listening }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on standard error so far.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.errors.lock().unwrap()).into_owned()
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(&mut self) -> ExitStatus {
        wait_until(&format!("{} ends", self.name), || self.has_ended());
        self.child.wait().unwrap()
    }

    /// Waits until nobody has its standard error open any more; all that it said there.
    fn last_errors(&self) -> String {
        wait_until(&format!("{} has nothing more to say", self.name), || self.listening.is_finished());
        self.errors()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends it and all its children as if they had crashed.
    pub(crate) fn kill(&mut self) {
        if !self.has_ended() {
            signal_group(self.child.id(), libc::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("standard error of {}:\n{}", self.name, self.errors());
        }
    }
}

/// Has the kernel end this process when the thread that started it ends, however that comes.
fn end_with_the_test() -> std::io::Result<()> {
    // SAFETY: this option takes a number.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Sends a signal to a process that has not been waited for.
pub(crate) fn signal(process: u32, signal: libc::c_int) {
    let process = libc::pid_t::try_from(process).unwrap();
    // SAFETY: kill takes no pointers.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0);
}

fn signal_group(leader: u32, signal: libc::c_int) {
    let group = libc::pid_t::try_from(leader).unwrap();
    // SAFETY: as above; a negative number names the group.
    unsafe { libc::kill(-group, signal) };
}

/// What a program that ended by itself left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end, which has to come within our patience.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Output {
    run_command(Command::new(program).args(args))
}

/// The same for a command with an environment of its own.
pub(crate) fn run_command(command: &mut Command) -> Output {
    let mut process = Process::start(command.stdout(Stdio::piped()));
    let mut pipe = process.child().stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut stdout = Vec::new();
        let _ = pipe.read_to_end(&mut stdout);
        String::from_utf8_lossy(&stdout).into_owned()
    });
    let status = process.end();
    let stdout = reading.join().unwrap();
    Output { status, stdout, stderr: process.last_errors() }
}
