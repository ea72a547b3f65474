//! The command line; each subcommand in its own file.

pub(crate) mod compare;
pub(crate) mod load;
pub(crate) mod meta;
mod output;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod swarm;
pub(crate) mod tier2;
pub(crate) mod tree;
