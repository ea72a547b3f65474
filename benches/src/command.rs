//! The commands, from the command line to what is printed.

use std::fs;
use std::io;
use std::net::SocketAddr;

use restreamer_core::time::Duration;
use serde::Serialize;

use crate::args::{
    Command, CompareArguments, OutputArguments, ReferenceArguments, RunArguments, ServerArguments,
    SourceArguments, TableArguments, ViewersArguments,
};
use crate::audience::{Audience, AudienceReport};
use crate::compare::compare;
use crate::machine;
use crate::progress::Progress;
use crate::reference::{self, Feed};
use crate::report;
use crate::run::{Manner, run};
use crate::source::{Outlet, Pace, Source, SourceOptions, SourceState};
use crate::subject::Subject;
use crate::table::Tables;
use crate::target::Origin;

/// How often the progress of viewers is shown.
const BEAT: Duration = Duration::from_secs(1);
const SERVER_MISSING: &str = "give --server COMMAND (for example 'restreamer {config}')";

/// Does what the command line says.
pub fn execute(command: Command) -> io::Result<()> {
    machine::raise_open_files()?;
    match command {
        Command::Source(arguments) => execute_source(&arguments),
        Command::Reference(arguments) => execute_reference(&arguments),
        Command::Viewers(arguments) => execute_viewers(&arguments),
        Command::Run(arguments) => execute_run(&arguments),
        Command::Compare(arguments) => execute_compare(&arguments),
        Command::Table(arguments) => execute_table(&arguments),
    }
}

fn execute_source(arguments: &SourceArguments) -> io::Result<()> {
    let outlet = &arguments.outlet;
    let outlet = match (outlet.http, outlet.tcp, outlet.connect, outlet.udp) {
        (Some(address), ..) => Outlet::Http(address),
        (_, Some(address), ..) => Outlet::Tcp(address),
        (_, _, Some(address), _) => Outlet::Connect(address),
        (_, _, _, Some(address)) => Outlet::Udp(address),
        _ => return Err(wrong("an outlet is needed")),
    };
    let source = Source::open(SourceOptions {
        outlet,
        bitrate: at_least(arguments.bitrate)?,
        pace: match arguments.step {
            0 => Pace::Unpaced,
            step => Pace::Steps(Duration::from_millis(step)),
        },
    })?;
    say_address(source.address());
    source.run(&SourceState::default())
}

fn execute_reference(arguments: &ReferenceArguments) -> io::Result<()> {
    let feed = match (&arguments.from, arguments.drain) {
        (Some(origin), Some(sockets)) => return reference::drain(origin, sockets),
        (Some(Origin::Connection(source)), _) => Feed::Source(source.clone()),
        (Some(Origin::Datagrams(_)), _) => {
            return Err(wrong("udp:// is for --drain: the loop reads connections"));
        }
        (None, _) => Feed::Own(at_least(arguments.bitrate)?),
    };
    reference::serve(arguments.listen, &feed, Duration::from_millis(arguments.flush), say_address)
}

fn execute_viewers(arguments: &ViewersArguments) -> io::Result<()> {
    let options = arguments.audience.options(arguments.viewers);
    let progress = Progress::new(!arguments.output.quiet);
    let joined = machine::now() + options.joining();
    let mut audience = Audience::new(vec![arguments.url.clone()], options)?;
    while !audience.everybody_is_in() && machine::now() < joined {
        audience.run_until(machine::now() + BEAT)?;
        progress.show(&format!("{} viewers, {} still wait", audience.streaming(), audience.waiting()));
    }
    audience.open_window();
    for second in 0..arguments.duration {
        let before = audience.bytes();
        audience.run_until(machine::now() + BEAT)?;
        let mbit = (audience.bytes() - before) as f64 * 8.0 / 1e6;
        let (left, streaming) = (arguments.duration - second, audience.streaming());
        progress.show(&format!(
            "{left} s to go: {streaming} viewers, {mbit:.0} Mbit/s, {} lost",
            audience.lost()
        ));
    }
    progress.end();
    let report: AudienceReport = audience.report();
    print!("{}", report.render());
    write_json(&arguments.output, &report)?;
    match audience.failure() {
        None => Ok(()),
        Some((reason, count)) => Err(io::Error::other(format!(
            "no viewer got a single byte of {}: {reason} ({count} times)",
            arguments.url
        ))),
    }
}

fn execute_run(arguments: &RunArguments) -> io::Result<()> {
    let scenario = arguments.load.scenario(at_least(arguments.bitrate)?, arguments.flush, arguments.viewers);
    let subject = match (arguments.reference, server(&arguments.server)) {
        (true, _) => Subject::Reference,
        (false, Some(server)) => server,
        (false, None) => return Err(wrong(&format!("{SERVER_MISSING} or --reference"))),
    };
    let report = run(&subject, &scenario, manner(&arguments.output, arguments.load.count_system_calls))?;
    print!("{}", report.render());
    write_json(&arguments.output, &report)
}

fn execute_compare(arguments: &CompareArguments) -> io::Result<()> {
    let subject = server(&arguments.server).ok_or_else(|| wrong(SERVER_MISSING))?;
    let manner = manner(&arguments.output, arguments.load.count_system_calls);
    let mut comparisons = Vec::new();
    for scenario in arguments.scenarios() {
        at_least(scenario.bitrate)?;
        comparisons.push(compare(&subject, &scenario, arguments.rounds, manner)?);
        // Written after every load: a long comparison that is interrupted has not been for nothing.
        write_json(&arguments.output, &comparisons)?;
    }
    print!("{}", report::comparisons(&comparisons));
    Ok(())
}

fn execute_table(arguments: &TableArguments) -> io::Result<()> {
    let subject = server(&arguments.server).ok_or_else(|| wrong(SERVER_MISSING))?;
    let manner = manner(&arguments.output, arguments.load.count_system_calls);
    let (grid, memory) = (arguments.grid(), arguments.memory());
    for scenario in grid.iter().chain(&memory) {
        at_least(scenario.bitrate)?;
    }
    let save = |tables: &Tables| write_json(&arguments.output, tables);
    let tables = Tables::measure(&subject, grid, memory, arguments.rounds, manner, save)?;
    print!("{}", tables.render());
    Ok(())
}

fn server(arguments: &ServerArguments) -> Option<Subject> {
    let command = arguments.server.clone()?;
    Some(Subject::Server { command, path: arguments.path.clone() })
}

fn manner(output: &OutputArguments, count_system_calls: bool) -> Manner {
    Manner { count_system_calls, progress: !output.quiet }
}

/// The synthetic stream needs this much.
fn at_least(bitrate: u64) -> io::Result<u64> {
    if bitrate >= 400_000 { Ok(bitrate) } else { Err(wrong("the bit rate must be at least 400k")) }
}

fn say_address(address: SocketAddr) {
    println!("{address}");
}

fn write_json(output: &OutputArguments, value: &impl Serialize) -> io::Result<()> {
    let Some(file) = &output.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(value)?;
    fs::write(file, text)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
