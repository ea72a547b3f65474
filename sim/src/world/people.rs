//! Coming and going.

use restreamer_core::{Duration, Instant, LimitEvent, Peer, Refusal};

use super::queue::Event;
use super::{World, mix};
use crate::check::counted;
use crate::fanout::{EndReason, Ended};
use crate::link::Link;
use crate::marks::sometimes;
use crate::mutation::Mutation;

/// Somebody who leaves within this time only wanted to see whether there is something.
const PROBE_MAX: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn arrive(&mut self, index: u32) {
        let now = self.now;
        let client = &mut self.clients[index as usize];
        if client.place.is_some() || self.is_over {
            return;
        }
        let (stream, runtime, id) = (client.plan.stream, client.plan.runtime, client.plan.id);
        let Some(channel) = self.channels.get_mut(stream as usize) else { return };
        sometimes!(self.observer, client.visits > 0, CameBack);
        client.visits += 1;
        client.digest.mix(now.as_nanos());
        if self.is_shut_down || !channel.stream.availability().lets_in() {
            self.totals.refused_by_stream += 1;
            self.refuse(index);
            return;
        }
        match self.admission.enter(stream, Peer(u128::from(client.plan.peer))) {
            Err(refusal) => {
                self.totals.refused_by_limit += 1;
                sometimes!(self.observer, refusal == Refusal::Full, LimitAll);
                sometimes!(self.observer, refusal == Refusal::StreamFull, LimitStream);
                sometimes!(self.observer, refusal == Refusal::PeerFull, LimitPeer);
                self.refuse(index);
                return;
            }
            Ok((ticket, event)) => {
                sometimes!(self.observer, event == Some(LimitEvent::Hit), SoftLimit);
                client.ticket = Some(ticket);
            }
        }
        self.observer.trace(now, || format!("viewer {id} joins stream {stream}"));
        if let Some(stay_ms) = client.plan.stay_ms {
            let leave = Event::Leave { client: index, visit: client.visits };
            self.queue.push(now + Duration::from_millis(stay_ms), leave);
        }
        let seed = mix(self.plan.seed, 1 << 20 | u64::from(client.visits), u64::from(id));
        let link = Link::new(now, &client.plan.link, &client.rates, seed);
        let runtime = runtime % channel.fanouts.len() as u32;
        let mutation = self.options.mutation;
        let place = channel.round(runtime, now, mutation, &mut self.observer, |fanout, published, shift| {
            fanout.let_in(published, index, id, link, shift)
        });
        self.clients[index as usize].place = Some(place);
        self.totals.joins += 1;
        self.count_viewers(1);
        self.after_round(stream, runtime);
    }

    /// A viewer is gone, without the server's doing.
    pub(super) fn drop_out(&mut self, index: u32, reason: EndReason) {
        let client = &self.clients[index as usize];
        let Some(place) = client.place else { return };
        let stream = client.plan.stream;
        let channel = &mut self.channels[stream as usize];
        let runtime = client.plan.runtime % channel.fanouts.len() as u32;
        channel.fanouts[runtime as usize].drop_out(place, reason);
        self.after_round(stream, runtime);
    }

    /// A viewer's response is over.
    pub(super) fn say_goodbye(&mut self, ended: Ended) {
        let now = self.now;
        let Ended { client, reason, stats, bytes_taken, record, decoder, digest, since, is_clean } = ended;
        self.count_viewers(-1);
        self.taken.bytes_sent += bytes_taken;
        self.taken.packets_skipped += stats.packets_skipped;
        self.taken.skips += u64::from(stats.skips);
        let index = client;
        let client = &mut self.clients[index as usize];
        let id = client.plan.id;
        self.observer.trace(now, || format!("viewer {id} ends: {reason:?}"));
        if let Some(ticket) = client.ticket.take() {
            let is_leaked =
                self.options.mutation == Some(Mutation::LeakedTicket) && reason == EndReason::Reset;
            if !is_leaked {
                self.admission.leave(ticket);
            }
        }
        client.place = None;
        client.note_end(reason, &decoder.finish(now), digest);
        client.report.bytes += bytes_taken;
        client.report.watched_ns += now.saturating_since(since).as_nanos() as u64;
        client.report.packets_skipped += stats.packets_skipped;
        client.report.skips += u64::from(stats.skips);
        let verdict = counted::check_viewer(stats, bytes_taken, &record);
        self.observer.judge(now, Some(id), verdict);
        if is_clean {
            self.observer.judge(now, Some(id), record.end());
        }
        self.note_end(reason, since);
        self.come_back(index);
    }

    fn refuse(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        client.report.refused += 1;
        let id = client.plan.id;
        self.observer.trace(self.now, || format!("viewer {id} is turned away"));
        self.come_back(index);
    }

    fn come_back(&mut self, index: u32) {
        if let Some(after_ms) = self.clients[index as usize].plan.back_after_ms.filter(|_| !self.is_over) {
            self.queue
                .push(self.now + Duration::from_millis(after_ms.max(1)), Event::Arrive { client: index });
        }
    }

    fn note_end(&mut self, reason: EndReason, since: Instant) {
        let is_short = self.now.saturating_since(since) < PROBE_MAX;
        sometimes!(self.observer, is_short && reason == EndReason::Left, Probed);
        sometimes!(self.observer, reason == EndReason::Stalled, Stalled);
        sometimes!(self.observer, reason == EndReason::Reset, ViewerReset);
        sometimes!(self.observer, reason == EndReason::UpstreamLost, UpstreamLost);
    }

    /// One viewer more, or less.
    fn count_viewers(&mut self, change: i64) {
        let totals = &mut self.totals;
        totals.viewer_ns +=
            totals.viewers * self.now.saturating_since(totals.viewers_since).as_nanos() as u64;
        totals.viewers_since = self.now;
        totals.viewers = totals.viewers.saturating_add_signed(change);
        totals.viewers_max = totals.viewers_max.max(totals.viewers);
    }
}
