//! Actions that run inside another one: what a client needs in order to tell the enclosing action of a hit.

use vrift_core::action::{Access, ActionRecord, Input, InputState};
use vrift_core::paths::Roots;
use vrift_core::wire::{ConfirmParams, InputClaim};

use super::session::Session;
use super::world::World;
use super::{Worker, check};

/// What the action looked at, in this checkout; nothing where that cannot be said.
pub fn looks(record: &ActionRecord, roots: &Roots) -> Option<Vec<InputClaim>> {
    let claim = |input: &Input| Some(InputClaim { path: roots.expand_path(&input.path)?, access: access(&input.state)? });
    record.inputs.iter().map(claim).collect()
}

/// The look that shows what was recorded. Where two do, the one that tells more.
fn access(state: &InputState) -> Option<Access> {
    match state {
        InputState::Absent => Some(Access::Absent),
        InputState::Barred => Some(Access::Barred),
        InputState::Kind(_) | InputState::Runnable => Some(Access::Kind),
        InputState::Itself(_) => Some(Access::Itself),
        InputState::Link(_) => Some(Access::Link),
        InputState::Listing(_) => Some(Access::Listing),
        InputState::Content(_) | InputState::Program(_) => Some(Access::Content),
        // Only scripts have such inputs, and what it means depends on the script.
        InputState::Fresh => None,
    }
}

/// Whether all that the client's last hit depends on is still as it was. The client has told the enclosing action of it by now: so it
/// was so at that place in the order of events, too.
pub fn confirm(worker: &Worker, session: &Session, params: &ConfirmParams) -> bool {
    let (Some(candidate), Some(command)) = (&session.hit, &session.nested) else { return false };
    if candidate.record.key != params.key {
        return false;
    }
    let world = World::new(&worker.digests, &command.roots, command.tool, &command.env);
    world.look_anew();
    check::inputs_hold(candidate, &world)
}

#[cfg(test)]
mod tests {
    use vrift_core::action::{FileKind, Request, Tool};
    use vrift_core::digest::Digest;
    use vrift_core::paths::{AbsPath, Root, TemplatePath};

    use super::*;

    fn record(states: &[(&[u8], InputState)]) -> ActionRecord {
        let template = |bytes: &[u8]| TemplatePath::from_stored(bytes);
        ActionRecord {
            key: Digest::of(b"k"),
            label: String::new(),
            request: Request {
                tool: Tool::Cc,
                program: template(b"/usr/bin/cc"),
                program_digest: Digest::of(b"p"),
                argv: Vec::new(),
                cwd: template(b"\0p"),
                umask: 0,
            },
            inputs: states.iter().map(|(path, state)| Input { path: template(path), state: *state }).collect(),
            env: Vec::new(),
            env_closed: false,
            outputs: Vec::new(),
            stdio: Vec::new(),
            bound: Vec::new(),
            wall_us: 0,
            cpu_us: 0,
        }
    }

    #[test]
    fn inputs_are_told_as_looks_in_this_checkout() {
        let roots = Roots::new([(Root::Project, AbsPath::new(b"/w/b").expect("absolute"))]);
        let digest = Digest::of(b"x");
        let told = |state| {
            let looks = looks(&record(&[(b"\0p/x", state)]), &roots)?;
            assert_eq!(looks[0].path.as_bytes(), b"/w/b/x");
            Some(looks[0].access)
        };
        for (state, access) in [
            (InputState::Absent, Access::Absent),
            (InputState::Barred, Access::Barred),
            (InputState::Kind(FileKind::Dir), Access::Kind),
            (InputState::Runnable, Access::Kind),
            (InputState::Itself(FileKind::File), Access::Itself),
            (InputState::Link(digest), Access::Link),
            (InputState::Listing(digest), Access::Listing),
            (InputState::Content(digest), Access::Content),
            (InputState::Program(digest), Access::Content),
        ] {
            assert_eq!(told(state), Some(access), "{state:?}");
        }
        assert_eq!(told(InputState::Fresh), None);
        assert!(looks(&record(&[(b"\0t/x", InputState::Absent)]), &roots).is_none(), "a root that is not known here");
    }
}
