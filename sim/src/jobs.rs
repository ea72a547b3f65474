//! The same work for many seeds, on several threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError, mpsc};

/// Does `work` for every one of `seeds`, `jobs` at a time, in order of their beginning. `tell` hears of each result when
/// it is there, and says whether to begin more; it still hears of what was begun before.
pub(crate) fn for_each_seed<T: Send>(
    seeds: Range<u64>,
    jobs: usize,
    work: impl Fn(u64) -> T + Sync,
    mut tell: impl FnMut(T) -> bool,
) {
    let seeds = Mutex::new(seeds);
    let next = || seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
    let stop = || *seeds.lock().unwrap_or_else(PoisonError::into_inner) = 0..0;
    let (results, done) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (results, next, work) = (results.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(seed) = next() {
                    if results.send(work(seed)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(results);
        for result in done {
            if !tell(result) {
                stop();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_done_once() {
        let mut done = Vec::new();
        let note = |double| {
            done.push(double);
            true
        };
        for_each_seed(3..20, 4, |seed| seed * 2, note);
        done.sort_unstable();
        assert_eq!(done, (3..20).map(|seed| seed * 2).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_seed_of_all_is_the_last() {
        let mut done = 0;
        let note = |_| {
            done += 1;
            true
        };
        for_each_seed(u64::MAX - 2..u64::MAX, 2, |seed| seed, note);
        assert_eq!(done, 2);
    }

    #[test]
    fn who_has_heard_enough_hears_only_of_what_was_begun() {
        let (jobs, mut heard) = (2, 0);
        let enough = |_| {
            heard += 1;
            heard < 5
        };
        for_each_seed(0..u64::MAX, jobs, |seed| seed, enough);
        assert!(heard >= 5, "{heard}");
    }
}
