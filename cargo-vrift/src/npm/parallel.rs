//! Packages of a workspace, as many at once as there are processors, each behind those that it needs.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::thread;

use super::group::{Group, To, Turns};
use super::live::Live;
use crate::error::Error;
use crate::front::Passing;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
    /// It failed, or needs one that did.
    Lost,
}

/// Runs `work` for each of `0..needs.len()`; `needs` names those that must have succeeded before. What fails has those that need it left
/// out, and its status is the whole's.
///
/// # Errors
/// The first of `work`, when what was running has ended.
pub fn run(
    needs: &[BTreeSet<usize>],
    work: impl Fn(usize, &mut To<'_, '_>) -> Result<ExitStatus, Error> + Sync,
) -> Result<ExitStatus, Error> {
    let (turns, live) = (Turns::default(), Live::default());
    let most = thread::available_parallelism().map_or(1, NonZero::get);
    let mut states = vec![State::Waiting; needs.len()];
    let mut whole = Ok(ExitStatus::default());
    let fail = |source| Error::File { action: "have signals of", path: "vrift".into(), source };
    let signals = Passing::new().map_err(fail)?;
    thread::scope(|scope| {
        let passing = signals.pass(scope, |signal, passed_on| live.tell(signal, passed_on));
        let (sender, ended) = mpsc::channel();
        let mut running = 0;
        loop {
            while running < most && whole.is_ok() && live.told().is_none() {
                let Some(next) = next(&mut states, needs) else { break };
                states[next] = State::Running;
                running += 1;
                let (sender, turns, live, work) = (sender.clone(), &turns, &live, &work);
                scope.spawn(move || {
                    let mut group = Group::new(turns, live, next);
                    let result = work(next, &mut To::Group(&mut group));
                    // Others may start while this one waits for its turn to say what is left.
                    group.has_ended();
                    let _ = sender.send((next, result));
                    group.end();
                });
            }
            if running == 0 {
                break;
            }
            let Ok((at, result)) = ended.recv() else { break };
            running -= 1;
            let failed = result.as_ref().map_or(true, |status| !status.success());
            states[at] = if failed { State::Lost } else { State::Done };
            if failed && whole.as_ref().is_ok_and(ExitStatus::success) {
                whole = result;
            }
        }
        passing.end();
    });
    match (whole, live.told()) {
        // What was told to end may end well; the rest never ran.
        (Ok(status), Some(signal)) if status.success() && states.contains(&State::Waiting) => {
            Ok(ExitStatus::from_raw(signal as i32))
        }
        (whole, _) => whole,
    }
}

/// The first that may start. Those whose needs are lost are lost.
fn next(states: &mut [State], needs: &[BTreeSet<usize>]) -> Option<usize> {
    for at in 0..states.len() {
        if states[at] != State::Waiting {
            continue;
        }
        if needs[at].iter().any(|need| states[*need] == State::Lost) {
            states[at] = State::Lost;
        } else if needs[at].iter().all(|need| states[*need] == State::Done) {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_failure_is_lost() {
        let needs: Vec<BTreeSet<usize>> = [vec![], vec![0], vec![], vec![1], vec![2]].map(BTreeSet::from_iter).into();
        let mut states = vec![State::Lost, State::Waiting, State::Waiting, State::Waiting, State::Waiting];
        assert_eq!(next(&mut states, &needs), Some(2));
        states[2] = State::Running;
        assert_eq!(next(&mut states, &needs), None);
        states[2] = State::Done;
        assert_eq!(next(&mut states, &needs), Some(4));
        assert!(states[1] == State::Lost && states[3] == State::Lost);
    }
}
