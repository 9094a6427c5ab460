//! Faults of processes: killed, stopped, interrupted.

use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::Signal;

use super::processes::{Process, Role};
use super::scene::Scene;
use crate::Result;

type Happened = Result<Option<String>>;

/// Tries to kill one worker that many times at most, as soon as it is back.
const OFTEN: u32 = 6;

fn victim(scene: &Scene, rng: &mut Rng, role: Role) -> Option<Process> {
    rng.choice(scene.with_role(role))
}

/// Kills a daemon: builds go on.
fn kill_daemon(scene: &Scene, rng: &mut Rng, role: Role, signal: Signal) -> Option<String> {
    let victim = victim(scene, rng, role)?;
    victim.signal(signal).then(|| victim.shown())
}

/// Kills what a build cannot do without.
fn kill_part(scene: &mut Scene, rng: &mut Rng, role: Role, signal: Signal) -> Option<String> {
    let victim = victim(scene, rng, role)?;
    scene.interrupt(&victim);
    victim.signal(signal).then(|| victim.shown())
}

fn stop(scene: &mut Scene, rng: &mut Rng, role: Role) -> Option<String> {
    let victim = victim(scene, rng, role)?;
    // Short, mostly: longer than any wait is rare, on a machine that swaps for instance.
    let time = Duration::from_millis(if rng.u32(..10) == 0 { 3000 } else { rng.u64(50..1000) });
    scene.stop(&victim, time).then(|| format!("{} for {time:.1?}", victim.shown()))
}

pub fn kill_worker(scene: &mut Scene, rng: &mut Rng) -> Happened {
    Ok(kill_daemon(scene, rng, Role::Worker, Signal::SIGKILL))
}

pub fn kill_worker_often(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let Some(first) = kill_daemon(scene, rng, Role::Worker, Signal::SIGKILL) else { return Ok(None) };
    let mut more = 0;
    for _ in 0..OFTEN {
        std::thread::sleep(Duration::from_millis(rng.u64(5..60)));
        more += u32::from(kill_daemon(scene, rng, Role::Worker, Signal::SIGKILL).is_some());
    }
    Ok(Some(format!("{first}, and {more} more")))
}

pub fn stop_worker(scene: &mut Scene, rng: &mut Rng) -> Happened {
    Ok(stop(scene, rng, Role::Worker))
}

pub fn kill_coordinator(scene: &mut Scene, rng: &mut Rng) -> Happened {
    Ok(kill_daemon(scene, rng, Role::Coordinator, Signal::SIGKILL))
}

pub fn stop_coordinator(scene: &mut Scene, rng: &mut Rng) -> Happened {
    Ok(stop(scene, rng, Role::Coordinator))
}

pub fn end_coordinator(scene: &mut Scene, rng: &mut Rng) -> Happened {
    Ok(kill_daemon(scene, rng, Role::Coordinator, Signal::SIGTERM))
}

pub fn kill_daemons(scene: &mut Scene, _: &mut Rng) -> Happened {
    let all = [scene.with_role(Role::Coordinator), scene.with_role(Role::Worker)].concat();
    let killed = all.iter().filter(|daemon| daemon.signal(Signal::SIGKILL)).count();
    Ok((killed > 0).then(|| format!("{killed} of them")))
}

pub fn kill_client(scene: &mut Scene, rng: &mut Rng) -> Happened {
    Ok(kill_part(scene, rng, Role::Client, Signal::SIGKILL))
}

pub fn stop_client(scene: &mut Scene, rng: &mut Rng) -> Happened {
    Ok(stop(scene, rng, Role::Client))
}

pub fn kill_front(scene: &mut Scene, rng: &mut Rng) -> Happened {
    Ok(kill_part(scene, rng, Role::Front, Signal::SIGKILL))
}

pub fn interrupt_front(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let signal = if rng.bool() { Signal::SIGINT } else { Signal::SIGTERM };
    Ok(kill_part(scene, rng, Role::Front, signal))
}

pub fn kill_compiler(scene: &mut Scene, rng: &mut Rng) -> Happened {
    Ok(kill_part(scene, rng, Role::Compiler, Signal::SIGKILL))
}

pub fn stop_compiler(scene: &mut Scene, rng: &mut Rng) -> Happened {
    Ok(stop(scene, rng, Role::Compiler))
}
