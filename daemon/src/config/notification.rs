//! The `notifications` of the file: whom to tell what.

use std::fmt;

use http::HeaderValue;

use super::access::{UserList, read_authorization};
use super::reader::Field;
use super::stream::url;
use super::url::{Scheme, Url};

/// A GET request that is sent when something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// When it is sent.
    pub event: Event,
    /// Where to; one of [`Scheme::WEB`].
    pub url: Url,
    /// The `Authorization` header that goes with it.
    pub authorization: Option<HeaderValue>,
}

/// What may be worth a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The number of viewers rose to the soft limit.
    LimitHit,
    /// It fell below it.
    LimitMiss,
    /// The heartbeat interval has passed.
    Heartbeat,
}

const EVENTS: [(&str, Event); 3] =
    [("limit_hit", Event::LimitHit), ("limit_miss", Event::LimitMiss), ("heartbeat", Event::Heartbeat)];

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Event::LimitHit => "limit_hit",
            Event::LimitMiss => "limit_miss",
            Event::Heartbeat => "heartbeat",
        })
    }
}

impl Notification {
    /// Reads one entry of the list.
    pub(super) fn read(field: Field<'_>, users: &UserList) -> Option<Notification> {
        let mut section = field.section()?;
        let event = match section.take("event") {
            Some(field) => field.choice(&EVENTS),
            None => {
                section.error("event", "is missing; expected limit_hit, limit_miss or heartbeat");
                None
            }
        };
        match section.take("type") {
            Some(field) => {
                field.choice(&[("url", ())]);
            }
            None => section.error("type", "is missing; expected url"),
        }
        let target = match section.take("url") {
            Some(field) => url(&field, &Scheme::WEB),
            None => {
                section.error("url", "is missing");
                None
            }
        };
        let authorization = read_authorization(&mut section, users);
        section.finish();
        Some(Notification { event: event?, url: target?, authorization })
    }
}
