//! From what each path was to the run to what must hold before another one.

use vrift_core::action::{Access, Tool};
use vrift_core::paths::AbsPath;
use vrift_core::wire::InputClaim;

use super::accesses::Seen;
use super::script;
use crate::command::Command;

/// What must hold before the run for its result to be the same.
pub fn claims(command: &Command, seen: &Seen) -> Vec<InputClaim> {
    if command.tool == Tool::Script {
        return script::claims(command, seen);
    }
    let compiler = command.tool != Tool::BuildScript;
    let mut claims = Vec::new();
    for (path, facts) in &seen.paths {
        if seen.is_updated(command, facts) {
            claims.push(InputClaim { path: path.clone(), access: Access::Before });
            continue;
        }
        if facts.grows && !compiler && !facts.was_there() {
            // Had it been there, the run would have added to it.
            claims.push(InputClaim { path: path.clone(), access: Access::Absent });
            continue;
        }
        let Some(mut access) = facts.before else { continue };
        // An archive that is there gets more members: that none was there counts.
        let counts = access == Access::Absent && (!compiler || command.tool.updates());
        if facts.changed && !counts {
            // Compilers look whether they can write what they are about to replace. What anybody read before changing it
            // is refused elsewhere.
            continue;
        }
        if access == Access::Listing && seen.unlisted.contains(path.as_bytes()) {
            access = Access::Kind;
        }
        if access == Access::Listing && command.tool.is_native() && is_listed_for_others(seen, path) {
            access = Access::Names;
        }
        if access != Access::Absent && above_a_checkout(command, path) {
            if access == Access::Listing {
                claims.extend(sought_above(seen, path, access));
            }
            continue;
        }
        claims.push(InputClaim { path: path.clone(), access });
    }
    claims
}

/// Whether a linker that listed this folder and left something in it cannot have looked for that: gold lists all folders in which it
/// searches for libraries, the working folder may be one, and what it leaves has no library's name.
fn is_listed_for_others(seen: &Seen, folder: &AbsPath) -> bool {
    let is_library =
        |name: &[u8]| name.starts_with(b"lib") || name.ends_with(b".a") || memchr::memmem::find(name, b".so").is_some();
    let left = seen.paths.iter().filter(|(path, facts)| facts.changed && path.parent().as_ref() == Some(folder));
    seen.stirred.contains(folder) && !left.into_iter().any(|(path, _)| is_library(path.file_name()))
}

/// Whether a program that lists a folder above the checkout does so to find what is in [`SOUGHT_ABOVE`]: a compiler, or what resolves
/// modules. Of any other program nobody knows what it looks for.
pub fn seeks_above(tool: Tool, program: Option<&[u8]>) -> bool {
    const RESOLVERS: [&[u8]; 8] = [b"node", b"nodejs", b"bun", b"deno", b"esbuild", b"tsgo", b"tsc", b"rspack"];
    if !matches!(tool, Tool::Script | Tool::BuildScript) {
        return true;
    }
    // Threads of what the kernel reports have numbers of their own, and are those of resolvers in Go.
    program.and_then(|path| path.rsplit(|c| *c == b'/').next()).is_none_or(|name| RESOLVERS.contains(&name))
}

/// What tools look for in the folders above a project. A bundler that lists these folders does not ask for the files one by one,
/// and all that such a folder holds is of no concern to it. Source: esbuild's `internal/resolver/resolver.go`.
const SOUGHT_ABOVE: [&str; 7] =
    ["package.json", "node_modules", "tsconfig.json", "jsconfig.json", ".pnp.data.json", ".pnp.cjs", ".pnp.js"];

/// What somebody who listed a folder above the checkout may have found there, or not.
pub fn sought_above(seen: &Seen, folder: &AbsPath, access: Access) -> Vec<InputClaim> {
    if seen.listed_above.contains(folder) {
        return vec![InputClaim { path: folder.clone(), access }];
    }
    let paths = SOUGHT_ABOVE.into_iter().filter_map(|name| AbsPath::resolve(folder, name.as_bytes()).ok());
    let claim = |path: AbsPath| {
        let access = if path.as_path().symlink_metadata().is_ok() { Access::Kind } else { Access::Absent };
        InputClaim { path, access }
    };
    paths.filter(|path| !seen.paths.contains_key(path)).map(claim).collect()
}

/// Folders above a checkout are there wherever the checkout is.
pub fn above_a_checkout(command: &Command, path: &AbsPath) -> bool {
    command.roots.per_checkout().iter().any(|(_, root)| root.below(path).is_some_and(|rest| !rest.is_empty()))
}
