//! The `restreamer` command.

fn main() {}
