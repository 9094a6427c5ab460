//! Is the trace all that happened?

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;

use vrift_core::arena::Trace;
use vrift_core::event::{EventKind, Untraced, flag};

use super::Reason;
use crate::tracer::Finished;

/// Refuses runs that failed, left something running, or were not seen as a whole.
pub fn check(finished: &Finished, trace: &Trace) -> Result<(), Reason> {
    match (finished.status.code(), finished.status.signal()) {
        (Some(0), _) => {}
        (Some(code), _) => return Err(format!("it failed with status {code}")),
        (None, signal) => return Err(format!("it was ended by signal {}", signal.unwrap_or(0))),
    }
    if finished.survivors {
        return Err("it left a process running".to_owned());
    }
    if trace.overflow {
        return Err("it did more than a trace holds".to_owned());
    }
    if trace.torn > 0 {
        return Err("one of its processes was killed while it reported".to_owned());
    }
    for event in &trace.events {
        if event.kind == EventKind::Untraced {
            let detail = String::from_utf8_lossy(&event.path);
            let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            return Err(format!("it {}{detail}", Untraced::describe(event.aux)));
        }
        if event.flags & flag::UNRESOLVED != 0 {
            return Err(format!(
                "it {}: {}",
                Untraced::describe(Untraced::LostPath as u64),
                String::from_utf8_lossy(&event.path)
            ));
        }
    }
    everyone_signed_in(trace)
}

/// Every program that was started must have signed in: one sign-in for the first, one for each execution that took place.
fn everyone_signed_in(trace: &Trace) -> Result<(), Reason> {
    let mut announced: HashMap<u32, &[u8]> = HashMap::new();
    let (mut expected, mut signed_in) = (1_usize, 0_usize);
    let mut last: &[u8] = b"";
    for event in &trace.events {
        match event.kind {
            EventKind::SignIn => {
                signed_in += 1;
                announced.remove(&event.pid);
            }
            EventKind::Exec => {
                expected += 1;
                last = &event.path;
                announced.insert(event.pid, &event.path);
            }
            EventKind::ExecFailed => {
                expected -= 1;
                announced.remove(&event.pid);
            }
            EventKind::Spawned => {
                announced.remove(&event.pid);
            }
            _ => {}
        }
    }
    if expected == signed_in {
        return Ok(());
    }
    let program = announced.values().next().copied().unwrap_or(last);
    Err(format!("a program did not sign in: {}", String::from_utf8_lossy(program)))
}

#[cfg(test)]
mod tests {
    use vrift_core::arena::Event;

    use super::*;

    fn trace(events: &[(u32, EventKind)]) -> Trace {
        let event = |(pid, kind): &(u32, EventKind)| Event {
            pid: *pid,
            kind: *kind,
            flags: 0,
            errno: 0,
            aux: 0,
            path: b"/bin/x".to_vec(),
        };
        Trace { events: events.iter().map(event).collect(), ..Trace::default() }
    }

    #[test]
    fn a_program_that_stays_silent_is_noticed() {
        use EventKind::{Exec, ExecFailed, SignIn, Spawned};
        let whole = |events: &[_]| everyone_signed_in(&trace(events)).is_ok();
        assert!(whole(&[(1, SignIn)]));
        assert!(whole(&[(1, SignIn), (1, Exec), (2, SignIn), (1, Spawned)]));
        assert!(whole(&[(1, SignIn), (2, Exec), (2, SignIn)]));
        assert!(whole(&[(1, SignIn), (2, Exec), (2, ExecFailed), (2, Exec), (2, SignIn)]));
        assert!(!whole(&[]));
        assert!(!whole(&[(1, SignIn), (2, Exec)]));
        assert!(!whole(&[(1, SignIn), (1, Exec), (1, Spawned)]));
    }
}
