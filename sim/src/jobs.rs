//! The same work for many seeds, on several threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

/// Does `work` for every one of `seeds`, `jobs` at a time, in order of their beginning; `tell` hears of each result
/// when it is there, and says whether to go on.
pub fn for_each_seed<T: Send>(
    seeds: Range<u64>,
    jobs: usize,
    work: impl Fn(u64) -> T + Sync,
    mut tell: impl FnMut(T) -> bool,
) {
    let next = AtomicU64::new(seeds.start);
    let (results, done) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (results, next, work) = (results.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || results.send(work(seed)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(results);
        // Leaving the loop closes the channel, which the workers notice.
        for result in done {
            if !tell(result) {
                break;
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
        for_each_seed(
            3..20,
            4,
            |seed| seed * 2,
            |double| {
                done.push(double);
                true
            },
        );
        done.sort_unstable();
        assert_eq!(done, (3..20).map(|seed| seed * 2).collect::<Vec<_>>());
    }

    #[test]
    fn who_has_heard_enough_hears_no_more() {
        let mut heard = 0;
        for_each_seed(
            0..u64::MAX,
            2,
            |seed| seed,
            |_| {
                heard += 1;
                heard < 5
            },
        );
        assert_eq!(heard, 5);
    }
}
