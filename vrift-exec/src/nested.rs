//! Actions inside another one: the C compilers that a script starts.
//!
//! Whatever becomes of such a command, the trace of the enclosing action must tell of it what it would tell of a mere part of that
//! action. The parent has announced the execution there, so a program must sign in there too, or the enclosing action is not stored:
//!
//! - Run for real as an action, it reports to both arenas as it goes ([`Field::Outer`]): only so the order of events among
//!   processes that run at once is the true one.
//! - Run for real without vrift's help, it reports to the enclosing action's arena alone ([`exec`]).
//! - On a hit nothing runs. What the real run would have shown is written in its place ([`restore`]): looks at all that the result
//!   depends on, then changes of all that it left, and last that the program signed in. So a process that dies in between makes
//!   the enclosing action one that is not stored. The worker has checked the inputs before the looks were written, and does so
//!   once more behind that ([`Client::confirm`]): then no change that another process made belongs in between.
//!
//! Looks of a hit tell at least as much as those of the run did: what was opened in vain may have been looked for by a mere `stat`.
//! Variables are left out: the shell or whatever else a script begins with may have listed them all, so for the enclosing action all
//! of them count (`record` sees to it). What lay where a compiler puts its output is left out as well, as it is in the compiler's own
//! claims; a result is not put in place of anything but ordinary files.
//!
//! Inside a nested action there are no further ones: what a compiler starts is a part of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use vrift_core::action::{Access, OutputState, Tool};
use vrift_core::arena::{Writer, open_arena};
use vrift_core::context::{Field, mode};
use vrift_core::event::{EventKind, flag};
use vrift_core::rules;
use vrift_core::wire::{HitPlan, InputClaim, RestoreStep};
use vrift_store::Cas;

use crate::client::Client;
use crate::command::Command;
use crate::{flags, plain, restore, tracer};

/// Whether C compilers below the command become actions of their own.
pub fn is_around_others(command: &Command) -> bool {
    let args = command.argv.iter().skip(1).map(|arg| &arg[..]);
    command.tool == Tool::Script
        && command.context_mode(mode::NESTED)
        && !is_inside(command)
        && !rules::takes_all(command.program.as_bytes(), args)
}

/// Whether the command runs inside another action.
pub fn is_inside(command: &Command) -> bool {
    !command.context().get(Field::Arena).is_empty()
}

/// Becomes the program, as a part of the enclosing action. Where that fails, as if vrift were not there: it does not sign in then,
/// and the enclosing action is not stored.
pub fn exec(command: &Command) -> u8 {
    let _ = tracer::prepare_part(command, &flags::arguments(command)).exec();
    plain::exec(command)
}

/// Puts a result in place, and tells the enclosing action of it.
///
/// # Errors
/// Why it cannot be used, one sentence: the program is to run for real, as a part of the enclosing action.
pub fn restore(cas: &Cas, plan: &HitPlan, command: &Command, client: &mut Client) -> Result<(), String> {
    let teller = Teller::new(command).ok_or("the trace around it cannot be written")?;
    let inputs = plan.inputs.as_ref().ok_or("its inputs are not told")?;
    let changes = plan.restore.iter().map(change).collect::<Result<Vec<_>, _>>()?;
    teller.looks(inputs)?;
    if !client.confirm(plan.key) {
        return Err("something that it depends on changed meanwhile".to_owned());
    }
    restore::restore(cas, plan, command).map_err(|error| format!("it could not be restored: {error}"))?;
    teller.changes(&changes);
    teller.sign_in(command);
    Ok(())
}

/// A file that a hit leaves.
#[derive(PartialEq, Eq, Debug)]
struct Change<'p> {
    path: &'p [u8],
    /// There is one already.
    existed: bool,
}

/// What a step changes. A compiler would write through a link, into a device or into a file that has another name, and it fails
/// where there is no folder; steps do nothing of that.
fn change(step: &RestoreStep) -> Result<Change<'_>, String> {
    let odd = |what: &str| format!("{} is {what}", step.path);
    if step.optional || !matches!(step.state, OutputState::File { .. }) {
        return Err(odd("no ordinary output"));
    }
    let path = step.path.as_bytes();
    match fs::symlink_metadata(step.path.as_path()) {
        Ok(meta) if meta.is_file() && meta.nlink() == 1 => Ok(Change { path, existed: true }),
        Ok(_) => Err(odd("no ordinary file")),
        Err(_) if step.path.parent().is_some_and(|folder| folder.as_path().is_dir()) => Ok(Change { path, existed: false }),
        Err(_) => Err(odd("in no folder")),
    }
}

/// Writes to the arenas of all enclosing actions.
struct Teller {
    arenas: Vec<Writer>,
}

impl Teller {
    /// `None` where there are none, or one cannot be written.
    fn new(command: &Command) -> Option<Self> {
        let context = command.context();
        let paths = [context.get(Field::Arena), context.get(Field::Outer)];
        let arenas: Option<Vec<_>> = paths.into_iter().filter(|path| !path.is_empty()).map(open_arena).collect();
        arenas.filter(|arenas| !arenas.is_empty()).map(|arenas| Self { arenas })
    }

    fn tell(&self, kind: EventKind, flags: u8, errno: i32, path: &[u8]) {
        for arena in &self.arenas {
            // One that is full says so to whoever reads it.
            arena.append(std::process::id(), kind, flags, u16::try_from(errno).unwrap_or(u16::MAX), 0, &[path]);
        }
    }

    fn looks(&self, inputs: &[InputClaim]) -> Result<(), String> {
        for input in inputs {
            let (kind, errno) = look(input.access).ok_or_else(|| format!("how it looked at {} is not known", input.path))?;
            self.tell(kind, 0, errno, input.path.as_bytes());
        }
        Ok(())
    }

    fn changes(&self, changes: &[Change<'_>]) {
        for change in changes {
            let flags = if change.existed { flag::TRUNCATED | flag::EXISTED } else { flag::TRUNCATED };
            self.tell(EventKind::OpenWrite, flags, 0, change.path);
        }
    }

    fn sign_in(&self, command: &Command) {
        match fs::canonicalize(Path::new(OsStr::from_bytes(command.program.as_bytes()))) {
            Ok(program) => self.tell(EventKind::SignIn, 0, 0, program.as_os_str().as_bytes()),
            Err(_) => self.tell(EventKind::SignIn, flag::UNRESOLVED, 0, command.program.as_bytes()),
        }
    }
}

/// The call that shows what an input was, and how it ended.
fn look(access: Access) -> Option<(EventKind, i32)> {
    match access {
        Access::Absent => Some((EventKind::OpenRead, libc::ENOENT)),
        Access::Barred => Some((EventKind::OpenRead, libc::EACCES)),
        Access::Kind => Some((EventKind::Access, 0)),
        Access::Link => Some((EventKind::Readlink, 0)),
        Access::Itself => Some((EventKind::Lstat, 0)),
        Access::Listing | Access::Names => Some((EventKind::List, 0)),
        Access::Content => Some((EventKind::OpenRead, 0)),
        Access::Before | Access::Fresh => None,
    }
}

#[cfg(test)]
mod tests {
    use vrift_core::action::Place;
    use vrift_core::arena::{ArenaFile, Event, read_trace};
    use vrift_core::digest::Digest;
    use vrift_core::paths::AbsPath;

    use super::*;

    fn abs(path: &Path) -> AbsPath {
        AbsPath::try_from(path).expect("absolute")
    }

    fn told(tell: impl FnOnce(&Teller)) -> Vec<Event> {
        let arena = ArenaFile::create(1 << 16).expect("creates");
        let writer = open_arena(arena.path().as_bytes()).expect("opens");
        tell(&Teller { arenas: vec![writer] });
        read_trace(arena.map()).expect("reads").events
    }

    #[test]
    fn looks_stand_for_inputs() {
        let claim = |access| InputClaim { path: AbsPath::new(b"/x").expect("absolute"), access };
        let all = [
            Access::Absent,
            Access::Barred,
            Access::Kind,
            Access::Link,
            Access::Itself,
            Access::Listing,
            Access::Names,
            Access::Content,
        ];
        let events = told(|teller| teller.looks(&all.map(claim)).expect("all are known"));
        let seen: Vec<_> = events.iter().map(|event| (event.kind, event.errno)).collect();
        let expected = [
            (EventKind::OpenRead, 2),
            (EventKind::OpenRead, 13),
            (EventKind::Access, 0),
            (EventKind::Readlink, 0),
            (EventKind::Lstat, 0),
            (EventKind::List, 0),
            (EventKind::List, 0),
            (EventKind::OpenRead, 0),
        ];
        assert_eq!(seen, expected);
        assert!(events.iter().all(|event| event.path == b"/x" && event.flags == 0 && event.pid == std::process::id()));
        for access in [Access::Before, Access::Fresh] {
            told(|teller| assert!(teller.looks(&[claim(access)]).is_err()));
        }
    }

    #[test]
    fn changes_say_what_was_there() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (there, new) = (dir.path().join("there"), dir.path().join("new"));
        fs::write(&there, "x").expect("writes");
        let step = |path: &Path| {
            let state = OutputState::File { blob: Digest::of(b"y"), size: 1, mode: 0o644, place: Place::Copy };
            RestoreStep { path: abs(path), state, optional: false }
        };
        let steps = [step(&there), step(&new)];
        let changes = steps.each_ref().map(|step| change(step).expect("ordinary"));
        let events = told(|teller| teller.changes(&changes));
        let flags: Vec<_> = events.iter().map(|event| (event.kind, event.flags)).collect();
        let (truncated, existed) = (flag::TRUNCATED, flag::TRUNCATED | flag::EXISTED);
        assert_eq!(flags, [(EventKind::OpenWrite, existed), (EventKind::OpenWrite, truncated)]);
        let links = [dir.path().join("link"), dir.path().join("hard"), dir.path().join("sub")];
        std::os::unix::fs::symlink("there", &links[0]).expect("symlink");
        fs::hard_link(&there, &links[1]).expect("link");
        fs::create_dir(&links[2]).expect("mkdir");
        for odd in links.iter().chain([&dir.path().join("none/x"), &there.join("x"), &there]) {
            assert!(change(&step(odd)).is_err(), "{}", odd.display());
        }
        for state in [OutputState::Removed, OutputState::Dir { mode: 0o755 }] {
            assert!(change(&RestoreStep { state, ..step(&new) }).is_err());
        }
    }
}
