//! A panic of a machine is a finding: what it said and where becomes the message of a violation.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

thread_local! {
    /// What the panic said that is being caught on this thread; `None` while none would be.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on, panics within a simulation are kept for its report, with their places in the source, and not
/// printed. All others are printed as before.
pub fn keep() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_kept = SAID.with_borrow_mut(|said| said.as_mut().map(|said| *said = describe(info)).is_some());
        if !is_kept {
            print(info);
        }
    }));
}

/// Runs `work`; a panic in it is answered as text.
pub(crate) fn catch(work: impl FnOnce()) -> Result<(), String> {
    SAID.set(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    let said = SAID.take().unwrap_or_default();
    result.map_err(|payload| if said.is_empty() { message(&*payload).to_owned() } else { said })
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let place =
        info.location().map_or_else(String::new, |place| format!("{}:{}: ", place.file(), place.line()));
    place + message(info.payload())
}

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_answered_with_its_message() {
        assert_eq!(catch(|| ()), Ok(()));
        let said = catch(|| panic!("number {}", 7)).unwrap_err();
        assert!(said.ends_with("number 7"), "{said}");
    }
}
