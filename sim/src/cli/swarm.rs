//! tmp
use clap::Args;
use restreamer_sim::{marks::Marks, swarm, verify::verify, world::Options};
use std::process::ExitCode;

/// Run many seeds
#[derive(Args)]
pub(crate) struct Swarm {
    #[arg(long, default_value = "0..100")]
    seeds: String,
}
impl Swarm {
    pub(crate) fn run(&self) -> ExitCode {
        let (a, b) = self.seeds.split_once("..").unwrap();
        let (a, b): (u64, u64) = (a.parse().unwrap(), b.parse().unwrap());
        let begin = std::time::Instant::now();
        let mut marks = Marks::default();
        let mut bad = 0;
        for seed in a..b {
            let plan = swarm::plan(seed);
            let out = verify(&plan, Options::default());
            marks.add(out.marks);
            if let Some(v) = out.violation {
                bad += 1;
                if bad < 40 {
                    println!("seed {seed}: {v}");
                }
            }
        }
        println!("{} seeds in {:?}, {bad} bad", b - a, begin.elapsed());
        for m in marks.missing() {
            println!("missing {m:?}");
        }
        ExitCode::SUCCESS
    }
}
