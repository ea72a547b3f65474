//! The command line; each subcommand in its own file.

pub(crate) mod run;
