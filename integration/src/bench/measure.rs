//! What a command costs: wall time, and processor time with its children's and the daemons'.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::Result;
use crate::command::{Cmd, Done};
use crate::env::TestEnv;

/// The cost of one run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// User and system time of the command, of all that it waited for, and of the environment's daemons.
    pub cpu: Duration,
}

/// Runs a command that must succeed. Nothing else may run in this process meanwhile.
///
/// # Errors
/// It fails.
pub fn measure(env: &TestEnv, cmd: &Cmd) -> Result<(Done, Cost)> {
    let (daemons, children) = (daemon_cpu(env), children_cpu()?);
    let done = cmd.ok()?;
    // What daemons do behind the build's back is part of its cost.
    settle(env);
    let cpu = (children_cpu()? - children) + daemon_cpu(env).saturating_sub(daemons);
    let cost = Cost { wall: done.wall, cpu };
    Ok((done, cost))
}

/// Waits until the daemons are idle, a few seconds at most.
pub fn settle(env: &TestEnv) {
    let mut before = daemon_cpu(env);
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(60));
        let now = daemon_cpu(env);
        if now == before {
            return;
        }
        before = now;
    }
}

fn daemon_cpu(env: &TestEnv) -> Duration {
    env.daemons().iter().map(crate::daemons::Daemon::cpu).sum()
}

fn children_cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// Runs of the same thing.
#[derive(Clone, Debug, Default)]
pub struct Series(pub Vec<Cost>);

impl Series {
    /// Adds a run.
    pub fn push(&mut self, cost: Cost) {
        self.0.push(cost);
    }

    /// The median wall time.
    pub fn wall(&self) -> Duration {
        median(self.0.iter().map(|cost| cost.wall))
    }

    /// The median processor time.
    pub fn cpu(&self) -> Duration {
        median(self.0.iter().map(|cost| cost.cpu))
    }

    /// All wall times, for the result file.
    pub fn walls_ms(&self) -> Vec<f64> {
        self.0.iter().map(|cost| cost.wall.as_secs_f64() * 1e3).collect()
    }

    /// All processor times, for the result file.
    pub fn cpus_ms(&self) -> Vec<f64> {
        self.0.iter().map(|cost| cost.cpu.as_secs_f64() * 1e3).collect()
    }
}

/// The one in the middle; of an even number the upper one. Zero of none.
pub fn median(times: impl IntoIterator<Item = Duration>) -> Duration {
    let mut all: Vec<_> = times.into_iter().collect();
    all.sort();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let ms = |all: &[u64]| median(all.iter().map(|ms| Duration::from_millis(*ms))).as_millis();
        assert_eq!((ms(&[3, 1, 2]), ms(&[4, 1, 3, 2]), ms(&[])), (2, 3, 0));
    }

    #[test]
    fn processor_time_of_children_counts() -> Result {
        let env = TestEnv::plain()?;
        let busy = env.cmd_in("sh", env.path()).args(["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"]);
        let (_, cost) = measure(&env, &busy)?;
        assert!(cost.cpu > Duration::from_millis(5) && cost.wall > Duration::from_millis(5), "{cost:?}");
        Ok(())
    }
}
