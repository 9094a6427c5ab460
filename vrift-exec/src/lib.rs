//! One action: asked for, looked up, restored or run under the tracer, and recorded.
//!
//! The shim replaces the execution of a program worth caching by that of `vrift-exec`, whose `main` is [`run`]. On a hit no
//! other program is started. It must start as fast as an empty program does: it is linked statically, allocates little and
//! opens nothing but the worker's socket before it knows what to do.
//!
//! - [`command`]: what was asked for;
//! - [`client`]: the worker's answers;
//! - `stdin`: the data that it is given;
//! - `addons`: whether a script's tools may call the kernel past libc;
//! - `restore`: putting a result in place;
//! - `nested`: commands inside other actions;
//! - `tracer`: running the program for real and watching it;
//! - `record`: turning what was seen into inputs and outputs;
//! - [`plain`]: running the program as if vrift were not there, which is how every failure ends.
//!
//! `unsafe` is confined to `tracer`.

#![deny(unsafe_code)]

mod addons;
pub mod client;
pub mod command;
mod dates;
mod dump;
mod flags;
mod nested;
pub mod plain;
mod record;
mod restore;
mod stdin;
mod surroundings;
#[allow(unsafe_code)]
mod tracer;

use vrift_core::action::Tool;
use vrift_core::context::mode;
use vrift_core::digest::Digest;
use vrift_core::tool::WATCH;
use vrift_core::wire::{AbandonParams, HitPlan, LookupResult, MissPlan};
use vrift_store::Cas;

use crate::client::Client;
use crate::command::Command;
use crate::stdin::{Input, Relay, Unread};

/// Runs the command that the program's arguments and environment describe: `vrift-exec <kind> <program> <name> <arguments>`.
/// Returns the exit status; a command that died of a signal makes this process die of the same. With [`WATCH`] for a kind it is
/// the program that executes others where the kernel reports their calls.
pub fn run() -> u8 {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|kind| kind == WATCH) {
        return tracer::launch::run(args);
    }
    let command = match Command::from_process() {
        Ok(command) => command,
        Err(error) => {
            eprintln!("vrift-exec: {error}");
            return 2;
        }
    };
    // Before anything is opened: where standard input is closed, its number is free.
    let stdin = match stdin::take(&command) {
        Ok(stdin) => stdin,
        Err(error) => {
            eprintln!("vrift-exec: cannot read standard input: {error}");
            return 1;
        }
    };
    let Some(mut client) = Client::connect(&command) else { return unaided(&command) };
    let mut unread = None;
    let stdin = match stdin {
        Input::None => None,
        Input::Data(digest) => Some(digest),
        Input::Open(how) => {
            unread = Some(how);
            None
        }
        Input::Endless => {
            client.abandon(&AbandonParams {
                session: command.session.clone(),
                key: Digest::of(&[]),
                label: command.label(),
                reason: "it may read from a terminal or a device on standard input".to_owned(),
                failed_hit: None,
            });
            return unaided(&command);
        }
    };
    let found = client.lookup(&command, stdin, &surroundings::of(&command, unread.is_some()));
    if command.context_mode(mode::DRY) {
        return tell(&command, found);
    }
    match found {
        Some(LookupResult::Hit(plan)) => hit(&command, &mut client, &plan),
        Some(LookupResult::Miss(plan)) if command.context_mode(mode::NO_STORE) => {
            abandon(&mut client, &command, &plan, "it was run without storing".to_owned());
            unaided(&command)
        }
        Some(LookupResult::Miss(plan)) => miss(&command, &mut client, *plan, unread),
        Some(LookupResult::Uncached { .. }) | None => unaided(&command),
    }
}

/// Says what a look-up gave, and does nothing.
fn tell(command: &Command, found: Option<LookupResult>) -> u8 {
    let (outcome, reason) = match found {
        Some(LookupResult::Hit(_)) => ("hit", "nothing that it depends on has changed".to_owned()),
        Some(LookupResult::Miss(plan)) => ("miss", plan.reason),
        Some(LookupResult::Uncached { reason }) => ("uncached", reason),
        None => ("uncached", "the worker does not answer".to_owned()),
    };
    println!("{}: {outcome}, {reason}", command.label());
    0
}

fn hit(command: &Command, client: &mut Client, plan: &HitPlan) -> u8 {
    let cas = Cas::open(command.source.as_path()).vouched_for();
    let restored = match nested::is_inside(command) {
        // Whatever the reason is, this was no hit.
        true => nested::restore(&cas, plan, command, client).map_err(|reason| (reason, true)),
        false => restore::restore(&cas, plan, command).map_err(|error| (error.to_string(), error.is_blob_fault())),
    };
    match restored {
        Ok(()) => restore::replay(plan),
        Err((reason, failed)) => {
            client.abandon(&AbandonParams {
                session: command.session.clone(),
                key: plan.key,
                label: command.label(),
                reason: format!("a stored result could not be restored: {reason}"),
                failed_hit: failed.then_some(plan.action),
            });
            unaided(command)
        }
    }
}

fn miss(command: &Command, client: &mut Client, plan: MissPlan, unread: Option<Unread>) -> u8 {
    let finished = (unread == Some(Unread::Idle)).then(Relay::start).transpose().and_then(|relay| {
        let finished = tracer::run(command, &flags::arguments(command), plan.by_kernel || addons::are_there(command));
        let nothing_came = relay.is_none_or(Relay::end);
        finished.map(|finished| (finished, nothing_came))
    });
    let (finished, nothing_came) = match finished {
        Ok(finished) => finished,
        Err(error) => {
            abandon(client, command, &plan, format!("could not be traced: {error}"));
            return unaided(command);
        }
    };
    let recorded = match flags::restore_dep_info(command) {
        Ok(()) if !nothing_came || unread.is_some_and(|unread| !unread.holds(finished.trace.as_ref().ok())) => {
            Err("something was read from standard input".to_owned())
        }
        Ok(()) if matches!(command.tool, Tool::Script | Tool::BuildScript) && stdin::asked_a_person(&finished) => {
            Err("it opened the terminal".to_owned())
        }
        Ok(()) => record::record(command, plan.clone(), &finished),
        Err(error) => Err(format!("its dep-info could not be rewritten: {error}")),
    };
    match recorded {
        Ok(params) => {
            client.record(&params);
        }
        Err(reason) => abandon(client, command, &plan, reason),
    }
    tracer::end_like(finished.status)
}

/// Runs the command without a result: as a part of the enclosing action, where there is one.
fn unaided(command: &Command) -> u8 {
    if nested::is_inside(command) { nested::exec(command) } else { plain::exec(command) }
}

fn abandon(client: &mut Client, command: &Command, plan: &MissPlan, reason: String) {
    client.abandon(&AbandonParams {
        session: command.session.clone(),
        key: plan.key,
        label: plan.label.clone(),
        reason,
        failed_hit: None,
    });
}
