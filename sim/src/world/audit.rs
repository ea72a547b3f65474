//! What is looked at from time to time, and at the end.

use restreamer_core::{Availability, Duration};

use super::World;
use crate::check::{balanced, bounded, counted, live};
use crate::fanout::{EndReason, Tally};
use crate::marks::sometimes;

/// A viewer who came this long before the end should have got somewhere.
const SETTLED_AFTER: Duration = Duration::from_secs(8);

impl World {
    /// Bounds and balances.
    pub(super) fn inspect(&mut self) {
        let now = self.now;
        let viewers: Vec<_> = self.channels.iter().map(super::Channel::viewers).collect();
        let limits = self.admission.limits();
        let observer = &mut self.observer;
        observer.judge(now, None, balanced::check(&self.admission, &viewers));
        observer.judge(now, None, bounded::check_viewers(viewers.iter().sum(), limits));
        let mut held_bytes = 0;
        for channel in &self.channels {
            let ring_limits = channel.plan.ring.into();
            let held = channel.held_bytes();
            held_bytes += held;
            observer.judge(now, None, bounded::check_held(held, ring_limits, channel.fanouts.len()));
            let is_grace = channel.stream.availability() == Availability::Grace;
            sometimes!(observer, is_grace && channel.viewers() > 0, HeldThroughGrace);
            for fanout in &channel.fanouts {
                observer.judge(now, None, bounded::check_copy(fanout.ring(), ring_limits));
                let is_paused = fanout.paused_until + bounded::STALL_SLACK > now;
                for place in (0..fanout.viewers()).filter(|_| fanout.has_blocked() && !is_paused) {
                    let seat = fanout.look(place).1;
                    if let Some(since) = seat.blocked_since() {
                        let limit = channel.plan.stall_limit();
                        observer.judge(now, Some(seat.id()), bounded::check_stall(now, since, limit));
                    }
                }
            }
        }
        self.totals.held_bytes_max = self.totals.held_bytes_max.max(held_bytes);
    }

    /// After the troubles, everything works again.
    pub(super) fn check_live(&mut self) {
        let now = self.now;
        if self.is_shut_down || self.plan.heal().is_none_or(|heal| heal + SETTLED_AFTER > now) {
            return;
        }
        for (number, channel) in self.channels.iter().enumerate() {
            let availability = channel.stream.availability();
            let is_exhausted = channel.truth.is_exhausted;
            self.observer.judge(now, None, live::check_stream(number, availability, is_exhausted));
            for fanout in channel.fanouts.iter().filter(|_| availability == Availability::Live) {
                for place in 0..fanout.viewers() {
                    let seat = fanout.look(place).1;
                    let client = &self.clients[seat.client() as usize];
                    if seat.since() + SETTLED_AFTER > now || !client.keeps_up {
                        continue;
                    }
                    let sequence = seat.record().last_segment();
                    let moment = sequence.and_then(|sequence| channel.timeline.get(sequence));
                    let place_ns = moment.map(|moment| moment.end_ns);
                    let verdict = live::check_viewer(&channel.plan, place_ns, channel.timeline.end_ns());
                    self.observer.judge(now, Some(seat.id()), verdict);
                }
            }
        }
    }

    /// Everybody leaves.
    pub(super) fn send_all_away(&mut self) {
        for index in 0..self.clients.len() {
            self.drop_out(index as u32, EndReason::Left);
        }
    }

    /// What everybody took with him must be what was counted.
    pub(super) fn check_accounts(&mut self) {
        let now = self.now;
        let viewers = vec![0; self.channels.len()];
        self.observer.judge(now, None, balanced::check(&self.admission, &viewers));
        let mut sent = Tally::default();
        for channel in &self.channels {
            let stats = channel.stream.stats();
            self.observer.judge(now, None, counted::check_stream(stats, &channel.truth));
            for fanout in &channel.fanouts {
                sent.add(&fanout.tally);
            }
        }
        self.observer.judge(now, None, counted::check_tally(&sent, &self.taken));
        self.taken.writes = sent.writes;
    }
}
