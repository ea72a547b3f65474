//! More than one machine: an origin, edges that take the stream from it, and up to a million people who watch.
//!
//! Every edge runs core's `Stream`, `Ring` and `Viewer`, as the origin does; what an edge gets are the bytes that the
//! origin's viewer for it gave to its link. Behind the edges there are only lengths. People who come to the same edge
//! in the same tenth of a second over the same kind of link are one crowd: they get the same input from
//! the same state, so what is true for one is true for all of them.

mod crowd;
mod edge;
mod origin;
mod report;

use std::collections::BTreeMap;

use restreamer_core::{Duration, Instant, Rng};
use serde::{Deserialize, Serialize};

use self::crowd::Sight;
use self::edge::Edge;
use self::origin::Origin;
use crate::link::LinkSpec;

/// How often sources send, and edges look at what has come.
const STEP: Duration = Duration::from_millis(5);
/// How often people come and go.
const DOOR: Duration = Duration::from_millis(100);
/// From here on people come: the edges are on the air.
const DOORS_OPEN: Duration = Duration::from_secs(4);
/// How long it takes until all are there.
const ARRIVALS_MS: u64 = 20_000;
/// The same when they are in a rush.
const RUSH_MS: u64 = 10_000;
/// How long an edge that crashed is away.
const AWAY: Duration = Duration::from_secs(15);
/// How long somebody stays on average before he zaps away and comes back.
const STAY_MS: u64 = 180_000;
/// How soon players come back that lost their edge, milliseconds.
const BACK_MS: (u64, u64) = (200, 3_000);
/// When they were turned away.
const TURNED_AWAY_MS: u64 = 1_000;
/// How people are connected: of a hundred, so many have this rate, kilobits per second.
const LINKS: [(u64, u64); 3] = [(60, 100_000), (25, 30_000), (15, 8_000)];
/// Number of kinds of links.
pub(crate) const KINDS: usize = LINKS.len();

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Story {
    /// People come within twenty seconds; from then on some leave and others come.
    Steady,
    /// The same, and then a tenth of the edges crash at once; everybody there looks for another one.
    Crash,
    /// A tenth of the people are there, and then all others come within ten seconds.
    Kickoff,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What happens.
    pub story: Story,
    /// Decides about everything that is left to chance.
    pub seed: u64,
    /// Machines between the origin and the people.
    pub edges: u32,
    /// People.
    pub viewers: u32,
    /// Rate of the stream, kilobits per second.
    pub kbps: u64,
    /// Frames from one key frame to the next, at 25 frames per second.
    pub gop_frames: u32,
    /// How long it is looked at: [`Story::duration_ms_min`] at least, or it is not told to its end.
    pub duration_ms: u64,
    /// Everybody is simulated on his own, for a comparison with crowds.
    pub singly: bool,
}

/// What one tier did in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Connections at its end.
    pub connections: u64,
    /// Requests, those that were refused included.
    pub requests: u64,
    /// Of those, refused.
    pub refused: u64,
    /// Bytes that sockets took.
    pub bytes: u64,
    /// How far the slowest reader's place was behind the newest segment at its end, milliseconds.
    pub lag_ms_max: u64,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// The origin, whose readers are edges.
    pub origin: Load,
    /// All edges together.
    pub edges: Load,
    /// The largest figure that any edge had, each for itself.
    pub busiest_edge: Load,
    /// Edges on the air at its end.
    pub edges_on_air: u64,
    /// How old the newest packet on an edge was when its people could get it, at most, milliseconds.
    pub edge_delay_ms_max: u64,
}

/// What people saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct People {
    /// Visits that began.
    pub visits: u64,
    /// Of those, with a picture.
    pub with_picture: u64,
    /// From the request to the first picture, seconds: the mean.
    pub first_picture_s: f64,
    /// The same: 99 of 100 wait less.
    pub first_picture_s_p99: f64,
    /// Seconds of all people together.
    pub watched_s: f64,
    /// Of those, without a moving picture after the first one.
    pub stalled_s: f64,
    /// Pictures shown broken.
    pub broken_pictures: u64,
    /// Times the drop policy acted.
    pub skips: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was asked.
    pub question: Question,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// What people saw.
    pub people: People,
    /// The most people at a time.
    pub viewers_max: u64,
    /// The most crowds at a time: what had to be simulated.
    pub crowds_max: u64,
}

/// The tree being run.
struct Tree<'a> {
    question: &'a Question,
    now: Instant,
    rng: Rng,
    origin: Origin,
    edges: Vec<Edge>,
    /// Who comes when: how many over each kind of link.
    due: BTreeMap<Instant, [u64; KINDS]>,
    sight: Sight,
    second: Second,
}

impl Story {
    /// The least time in which everything happens that it tells of: all have come, and what comes then is over.
    pub fn duration_ms_min(self) -> u64 {
        let doors_open_ms = DOORS_OPEN.as_millis() as u64;
        let all_there_ms = doors_open_ms + ARRIVALS_MS;
        match self {
            Story::Steady => all_there_ms,
            // They crash halfway, and are back before the end.
            Story::Crash => 2 * all_there_ms,
            // The rush begins when a third of it is over.
            Story::Kickoff => (doors_open_ms + RUSH_MS) * 3 / 2,
        }
    }
}

impl Question {
    /// A story of a million people on a hundred edges.
    pub fn new(story: Story) -> Self {
        Question {
            story,
            seed: 1,
            edges: 100,
            viewers: 1_000_000,
            kbps: 4_000,
            gop_frames: 50,
            duration_ms: 60_000,
            singly: false,
        }
    }

    /// Runs it. `progress` is told how many of how many milliseconds are over.
    pub fn answer(&self, mut progress: impl FnMut(u64, u64)) -> Report {
        let mut tree = Tree::new(self);
        let (mut seconds, mut viewers_max, mut crowds_max) = (Vec::new(), 0, 0);
        for number in 0..self.duration_ms / 1_000 {
            progress(number * 1_000, self.duration_ms);
            let second = tree.live_for_a_second();
            viewers_max = second.edges.connections.max(viewers_max);
            crowds_max = tree.edges.iter().map(|edge| edge.crowds() as u64).sum::<u64>().max(crowds_max);
            seconds.push(second);
        }
        let now = tree.now;
        for mut edge in std::mem::take(&mut tree.edges) {
            edge.crash(now, &mut tree.sight);
        }
        let people = tree.sight.into_people();
        Report { question: self.clone(), seconds, people, viewers_max, crowds_max }
    }

    /// When edges crash, and for how long.
    fn crash(&self) -> Option<(Instant, Duration)> {
        let at = Instant::from_millis(self.duration_ms / 2 / 100 * 100);
        (self.story == Story::Crash).then_some((at, AWAY))
    }
}

impl<'a> Tree<'a> {
    fn new(question: &'a Question) -> Self {
        let mut rng = Rng::from_seed(question.seed);
        let edges = (0..question.edges).map(|_| Edge::new(rng.next_u64())).collect();
        let origin = Origin::new(question.seed, question.kbps, question.gop_frames);
        let mut tree = Tree {
            question,
            now: Instant::ORIGIN,
            rng,
            origin,
            edges,
            due: BTreeMap::new(),
            sight: Sight::default(),
            second: Second::default(),
        };
        for _ in 0..question.viewers {
            let (from_ms, for_ms) = match question.story {
                Story::Steady | Story::Crash => (0, ARRIVALS_MS),
                Story::Kickoff if tree.rng.chance(1, 10) => (0, RUSH_MS),
                Story::Kickoff => (question.duration_ms / 3, RUSH_MS),
            };
            let after = Duration::from_millis(from_ms + tree.rng.below(for_ms));
            let kind = tree.kind();
            tree.expect(Instant::ORIGIN + DOORS_OPEN + after, kind);
        }
        tree
    }

    fn live_for_a_second(&mut self) -> Second {
        self.second = Second::default();
        let end = self.now + Duration::from_secs(1);
        while self.now < end {
            self.now += STEP;
            self.step();
        }
        let second = &mut self.second;
        self.origin.note(&self.edges, &mut second.origin);
        for edge in &mut self.edges {
            let load = edge.end_second(self.now);
            second.edges_on_air += u64::from(edge.lets_in());
            second.edge_delay_ms_max = second.edge_delay_ms_max.max(edge.take_delay_ms_max());
            let (all, most) = (&mut second.edges, &mut second.busiest_edge);
            all.connections += load.connections;
            all.requests += load.requests;
            all.bytes += load.bytes;
            all.lag_ms_max = all.lag_ms_max.max(load.lag_ms_max);
            most.connections = most.connections.max(load.connections);
            most.requests = most.requests.max(load.requests);
            most.bytes = most.bytes.max(load.bytes);
            most.lag_ms_max = most.lag_ms_max.max(load.lag_ms_max);
        }
        *second
    }

    fn step(&mut self) {
        let now = self.now;
        self.origin.step(now);
        for edge in &mut self.edges {
            edge.step(now, &mut self.origin, &mut self.second.origin, &mut self.sight);
        }
        if now.as_nanos().is_multiple_of(DOOR.as_nanos() as u64) {
            self.crash_edges();
            self.let_people_go();
            self.let_people_in();
        }
    }

    fn crash_edges(&mut self) {
        let Some((at, for_time)) = self.question.crash().filter(|&(at, _)| at == self.now) else { return };
        let count = self.edges.len().div_ceil(10);
        for index in 0..count {
            let homeless = self.edges[index].crash(at, &mut self.sight);
            self.edges[index].stay_away_until(at + for_time);
            for (kind, &people) in homeless.iter().enumerate() {
                for _ in 0..people {
                    let after = Duration::from_millis(self.rng.between(BACK_MS.0, BACK_MS.1));
                    self.expect(at + after, kind);
                }
            }
        }
    }

    /// Some zap away, and come back at once: to the same programme, as far as this tree is concerned.
    fn let_people_go(&mut self) {
        let present: u64 = self.edges.iter().map(Edge::people).sum();
        let share = present * DOOR.as_millis() as u64;
        let leaving = share / STAY_MS + u64::from(self.rng.below(STAY_MS) < share % STAY_MS);
        for _ in 0..leaving {
            let edge = self.rng.below(self.edges.len() as u64) as usize;
            let nth = self.rng.next_u64();
            if let Some(kind) = self.edges[edge].let_go(self.now, nth, &mut self.sight) {
                self.expect(self.now + DOOR, kind);
            }
        }
    }

    fn let_people_in(&mut self) {
        let now = self.now;
        let mut newcomers = vec![[0; KINDS]; self.edges.len()];
        let open: Vec<usize> = (0..self.edges.len()).filter(|&index| self.edges[index].is_up()).collect();
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() <= now) {
            for (kind, people) in entry.remove().into_iter().enumerate() {
                for _ in 0..people {
                    self.second.edges.refused += u64::from(open.is_empty());
                    match open.get(self.rng.below(open.len() as u64) as usize) {
                        Some(&edge) => newcomers[edge][kind] += 1,
                        None => self.expect(now + Duration::from_millis(TURNED_AWAY_MS), kind),
                    }
                }
            }
        }
        for (index, kinds) in newcomers.into_iter().enumerate() {
            for (kind, people) in kinds.into_iter().enumerate().filter(|&(_, people)| people > 0) {
                let edge = &mut self.edges[index];
                edge.note_requests(people);
                if edge.lets_in() {
                    edge.let_in(now, kind, people, self.question.singly, &mut self.sight);
                } else {
                    self.second.edges.refused += people;
                    let after = Duration::from_millis(TURNED_AWAY_MS);
                    (0..people).for_each(|_| self.expect(now + after, kind));
                }
            }
        }
    }

    /// Somebody will come at `at`, or with the next door after it.
    fn expect(&mut self, at: Instant, kind: usize) {
        let door = DOOR.as_nanos() as u64;
        let at = Instant::from_nanos(at.as_nanos().div_ceil(door) * door);
        self.due.entry(at).or_default()[kind] += 1;
    }

    fn kind(&mut self) -> usize {
        let mut draw = self.rng.below(100);
        for (kind, (share, _)) in LINKS.iter().enumerate() {
            if draw < *share {
                return kind;
            }
            draw -= share;
        }
        0
    }
}

/// A link of this kind.
fn link(kind: usize) -> LinkSpec {
    LinkSpec::steady(LINKS.get(kind).map_or(0, |&(_, kbps)| kbps))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(story: Story) -> Question {
        Question { edges: 5, viewers: 600, kbps: 1_000, duration_ms: 34_000, ..Question::new(story) }
    }

    #[test]
    fn crowds_are_exact() {
        for story in [Story::Crash, Story::Kickoff] {
            let crowds = small(story).answer(|_, _| {});
            let singles = Question { singly: true, ..small(story) }.answer(|_, _| {});
            assert_eq!(crowds.seconds, singles.seconds);
            assert_eq!(crowds.people, singles.people);
            assert!(crowds.crowds_max < singles.crowds_max);
            assert_eq!(singles.crowds_max, singles.viewers_max);
        }
    }

    #[test]
    fn after_a_crash_everybody_finds_another_edge() {
        let report = small(Story::Crash).answer(|_, _| {});
        let on_air: Vec<_> = report.seconds.iter().map(|second| second.edges_on_air).collect();
        assert_eq!((on_air[15], on_air[18], on_air[33]), (5, 4, 5));
        let last = report.seconds.last().unwrap();
        assert!(last.edges.connections >= 590, "{last:?}");
        assert_eq!(last.origin.connections, 5);
        assert!(report.people.first_picture_s < 0.5, "{:?}", report.people);
    }

    #[test]
    fn the_least_time_of_a_story_is_enough_for_all_of_it() {
        for story in Story::ALL {
            let question = Question { duration_ms: story.duration_ms_min(), ..small(story) };
            let report = question.answer(|_, _| {});
            assert!(report.viewers_max >= 590, "{story:?}: {}", report.viewers_max);
            let on_air: Vec<_> = report.seconds[10..].iter().map(|second| second.edges_on_air).collect();
            let expected = if story == Story::Crash { 4 } else { 5 };
            assert_eq!((on_air.iter().min(), on_air.last()), (Some(&expected), Some(&5)), "{story:?}");
            let all_there = DOORS_OPEN + Duration::from_millis(ARRIVALS_MS);
            assert!(question.crash().is_none_or(|(at, _)| at >= Instant::ORIGIN + all_there), "{story:?}");
        }
    }

    #[test]
    fn the_origin_carries_the_stream_once_per_edge() {
        let report = small(Story::Kickoff).answer(|_, _| {});
        let second = report.seconds[30];
        assert!(second.origin.bytes.abs_diff(5 * 125_000) < 10_000, "{second:?}");
        assert!(second.edges.bytes > 590 * 120_000, "{second:?}");
        assert_eq!(report.people.stalled_s, 0.0, "{:?}", report.people);
    }
}
