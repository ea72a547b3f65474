//! Tells other servers what happens here: a GET per event.
//!
//! Notifications to one server are sent one after the other, in the order of the events; servers do not wait
//! for each other, and heartbeats do not wait behind limit events. A server that is slow or gone loses the
//! oldest of what waits for it. Whoever reports an event never waits at all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderValue};
use restreamer_core::{CloseCause, CloseKind, LimitEvent};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::client::{self, ClientOptions, Target};
use crate::gate::OnLimit;
use crate::net::Net;
use crate::observe::Counter;

/// Limit events that wait for one server at most; the oldest goes first.
pub const WAITING_MAX: usize = 64;
/// A server has this long to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The number of viewers has risen to the soft limit.
    LimitHit,
    /// The number of viewers has fallen below the soft limit.
    LimitMiss,
    /// The process is alive.
    Heartbeat,
}

impl Event {
    /// The name in the configuration and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Event::LimitHit => "limit_hit",
            Event::LimitMiss => "limit_miss",
            Event::Heartbeat => "heartbeat",
        }
    }
}

impl From<LimitEvent> for Event {
    fn from(event: LimitEvent) -> Self {
        match event {
            LimitEvent::Hit => Event::LimitHit,
            LimitEvent::Miss => Event::LimitMiss,
        }
    }
}

/// Whom to tell about one kind of event.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The event.
    pub event: Event,
    /// What is requested.
    pub target: Target,
    /// The `Authorization` to send along.
    pub authorization: Option<HeaderValue>,
}

/// The queues of all servers that want to be told.
#[derive(Debug)]
pub struct Notifier {
    lanes: Vec<Lane>,
    dropped: Counter,
}

/// What goes to one server in order.
#[derive(Debug)]
struct Lane {
    notifications: Vec<Notification>,
    /// Indices into `notifications`; at most [`WAITING_MAX`], or each heartbeat once.
    waiting: Mutex<VecDeque<usize>>,
    added: Notify,
}

impl Notifier {
    /// Queues for these notifications, empty. [`Notifier::run`] sends what is put into them.
    pub fn new(notifications: impl IntoIterator<Item = Notification>) -> Arc<Self> {
        let mut lanes: Vec<Lane> = Vec::new();
        for notification in notifications {
            match lanes.iter_mut().find(|lane| lane.carries(&notification)) {
                Some(lane) => lane.notifications.push(notification),
                None => lanes.push(Lane {
                    notifications: vec![notification],
                    waiting: Mutex::default(),
                    added: Notify::new(),
                }),
            }
        }
        Arc::new(Notifier { lanes, dropped: Counter::default() })
    }

    /// Whether anybody wants to be told about `event`.
    pub fn wants(&self, event: Event) -> bool {
        self.lanes.iter().flat_map(|lane| &lane.notifications).any(|one| one.event == event)
    }

    /// Puts an event into the queues of those who want it. Never waits.
    pub fn tell(&self, event: Event) {
        self.dropped.add(self.lanes.iter().map(|lane| lane.put(event)).sum());
    }

    /// Events that were dropped because a server did not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped.now()
    }

    /// What a gate calls about its soft limit: a log line and the notifications.
    pub fn on_limit(self: &Arc<Self>) -> OnLimit {
        let notifier = Arc::clone(self);
        Box::new(move |limit_event| {
            let event = Event::from(limit_event);
            let message = match limit_event {
                LimitEvent::Hit => "as many viewers as the soft limit",
                LimitEvent::Miss => "fewer viewers than the soft limit",
            };
            tracing::info!(module = "event", event = event.name(), "{message}");
            notifier.tell(event);
        })
    }

    /// Sends what is put into the queues, and a heartbeat every `heartbeat`, for as long as it is polled.
    pub async fn run<N: Net>(self: Arc<Self>, net: N, options: ClientOptions, heartbeat: Option<Duration>) {
        let mut lanes = JoinSet::new();
        for index in 0..self.lanes.len() {
            lanes.spawn(Arc::clone(&self).run_lane(index, net.clone(), options.clone()));
        }
        let Some(every) = heartbeat.filter(|every| !every.is_zero() && self.wants(Event::Heartbeat)) else {
            return std::future::pending().await;
        };
        let mut beats = interval_at(Instant::now() + every, every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            self.tell(Event::Heartbeat);
        }
    }

    async fn run_lane<N: Net>(self: Arc<Self>, index: usize, net: N, options: ClientOptions) {
        let lane = &self.lanes[index];
        loop {
            let notification = lane.next().await;
            let sending = send(&net, notification, &options);
            let outcome = timeout(ANSWER_TIME_MAX, sending).await.unwrap_or_else(|_| {
                Err(CloseCause::new(CloseKind::Timeout, &format!("no answer within {ANSWER_TIME_MAX:?}")))
            });
            match outcome {
                Ok(()) => tracing::debug!(
                    module = "event",
                    event = "notified",
                    notification = notification.event.name(),
                    url = %notification.target,
                    "notification sent"
                ),
                Err(cause) => tracing::warn!(
                    module = "event",
                    event = "notification_failed",
                    notification = notification.event.name(),
                    url = %notification.target,
                    reason = %cause,
                    dropped = self.dropped(),
                    "notification not delivered"
                ),
            }
        }
    }
}

impl Lane {
    /// Whether `notification` has to keep the order of this lane.
    fn carries(&self, notification: &Notification) -> bool {
        self.notifications.iter().any(|one| {
            one.target.same_origin(&notification.target)
                && (one.event == Event::Heartbeat) == (notification.event == Event::Heartbeat)
        })
    }

    /// Queues what concerns `event` and returns how much had to be dropped for it.
    fn put(&self, event: Event) -> u64 {
        let concerned = self.notifications.iter().enumerate().filter(|(_, one)| one.event == event);
        let mut dropped = 0;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, _) in concerned {
            // A heartbeat that comes late is as good as two.
            if event == Event::Heartbeat && waiting.contains(&index) {
                dropped += 1;
                continue;
            }
            if waiting.len() == WAITING_MAX {
                waiting.pop_front();
                dropped += 1;
            }
            waiting.push_back(index);
            self.added.notify_one();
        }
        dropped
    }

    async fn next(&self) -> &Notification {
        loop {
            let next = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(index) => return &self.notifications[index],
                None => self.added.notified().await,
            }
        }
    }
}

/// Sends one notification; the body of the answer is not waited for.
async fn send<N: Net>(
    net: &N,
    notification: &Notification,
    options: &ClientOptions,
) -> Result<(), CloseCause> {
    let mut headers = HeaderMap::new();
    headers.extend(notification.authorization.clone().map(|value| (header::AUTHORIZATION, value)));
    let answer = client::get(net, &notification.target, &headers, options).await?;
    match answer.head.status {
        status if status.is_success() => Ok(()),
        status => Err(CloseCause::new(CloseKind::Refused, &format!("the server answered {status}"))),
    }
}
