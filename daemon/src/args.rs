//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;

use crate::config::ListenAddress;

/// The file that is read when the command line names none.
pub const CONFIG_DEFAULT: &str = "restreamer.json";

/// Plays live MPEG transport streams to many viewers over HTTP.
///
/// Each stream is fetched once, from HTTP, UDP or RTP multicast, TCP, a file, a FIFO or a command, kept in memory for
/// some seconds, and sent to as many players as the network takes. Nothing is transcoded or written to disk.
#[derive(Clone, Debug, Parser)]
#[command(name = "restreamer", version, after_long_help = AFTER_HELP)]
pub struct Args {
    /// The configuration; without it, restreamer.json in the working directory
    pub config: Option<PathBuf>,

    /// Say what the configuration means and needs, and what is wrong with it, then exit
    ///
    /// Prints the values in force for every stream, the memory and the file descriptors that are needed at worst, and all
    /// warnings. Nothing is opened for listening. The exit status is 1 when there are errors.
    #[arg(long)]
    pub check: bool,

    /// Play a built-in test stream at http://127.0.0.1:8000/demo.ts, without a configuration
    #[arg(long, conflicts_with = "config")]
    pub demo: bool,

    /// Listen here instead of where the configuration says; may be given several times
    ///
    /// host:port, :port for all interfaces, `[v6]:port`, or unix:/path/of/socket.
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<ListenAddress>,

    /// Print a completion script for a shell, then exit
    #[arg(long, value_name = "SHELL", exclusive = true)]
    pub completions: Option<Shell>,

    /// Print the manual page, then exit
    #[arg(long, exclusive = true)]
    pub man: bool,
}

const AFTER_HELP: &str = "\
Try it:
  restreamer --demo             and then: vlc http://localhost:8000/demo.ts
  restreamer --check            what restreamer.json means, and what is wrong with it
  restreamer /etc/restreamer/restreamer.json

Signals:
  SIGTERM, SIGINT, SIGHUP
                    end the viewers' responses and exit; a second one exits at once
  SIGUSR1           open the log file again (log rotation)

Environment:
  RUST_LOG          log level: error, warn, info (default), debug, trace; also per module
  http_proxy, https_proxy, no_proxy
                    proxies towards http and https upstreams

Exit status:
  0   ended as asked, or --check found no error
  1   the configuration cannot be used, or the server could not start
  2   wrong command line";

impl Args {
    /// The completion script for `shell`.
    pub fn completions(shell: Shell) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "restreamer", &mut script);
        script
    }

    /// The manual page, in roff.
    pub fn manual() -> std::io::Result<Vec<u8>> {
        let mut page = Vec::new();
        clap_mangen::Man::new(Args::command()).render(&mut page)?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_are_read() {
        let args = Args::try_parse_from([
            "restreamer",
            "--check",
            "x.json",
            "--listen",
            ":1",
            "--listen",
            "unix:/s",
        ]);
        let args = args.unwrap();
        assert_eq!(args.config, Some("x.json".into()));
        assert!(args.check && !args.demo && !args.man);
        let listen: Vec<_> = args.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, [":1", "unix:/s"]);
        for wrong in
            [["restreamer", "--demo", "x.json"], ["restreamer", "--listen", "8000"], ["restreamer", "a", "b"]]
        {
            assert!(Args::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn completions_and_manual_name_every_option() {
        let page = String::from_utf8(Args::manual().unwrap()).unwrap();
        let script = String::from_utf8(Args::completions(Shell::Bash)).unwrap();
        for option in ["check", "demo", "listen", "completions", "man", "version"] {
            assert!(page.contains(option), "{option}");
            assert!(script.contains(&format!("--{option}")), "{option}");
        }
    }
}
