//! The `notifications` of the file: whom to tell what.

use restreamer_io::notify::{Event, Notification};

use super::access::{UserList, read_authorization};
use super::reader::Field;
use super::target;

const EVENTS: [(&str, Event); 3] =
    [("limit_hit", Event::LimitHit), ("limit_miss", Event::LimitMiss), ("heartbeat", Event::Heartbeat)];

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
        Some(field) => target::web(&field),
        None => {
            section.error("url", "is missing");
            None
        }
    };
    let authorization = read_authorization(&mut section, users);
    section.finish();
    Some(Notification { event: event?, target: target?, authorization })
}
