//! The path, the arguments and the variables that a program is executed with in the end.

use core::ffi::c_char;

use vrift_core::context::{Context, Field, SEPARATOR, mode};
use vrift_core::env;
use vrift_core::rules;
use vrift_core::tool::WATCH;

use super::lists::{Strings, arguments, count, find, is_variable};
use super::{Plan, Verdict};
use crate::path;
use crate::state;

/// The environment `envp` with preload and context, built in `room`.
///
/// # Safety
/// `envp` must be null or a NULL-terminated list of strings.
pub unsafe fn environment(context: &Context<'_>, envp: Strings, room: &mut [u8]) -> Option<Strings> {
    // SAFETY: the caller vouches for `envp`.
    unsafe { Builder::new(room).environment(context, envp, true, false) }
}

/// How many bytes [`environment`] needs at most.
///
/// # Safety
/// As for [`environment`].
pub unsafe fn environment_size(context: &Context<'_>, envp: Strings) -> usize {
    // SAFETY: the caller vouches for `envp`.
    unsafe { size_of_plan(context, c"".as_ptr(), core::ptr::null(), envp) }
}

/// The option of gcc and clang that replaces the beginning of paths in debug information.
const PREFIX_MAP: &[u8] = b"-fdebug-prefix-map=";

/// Whether the program is a C compiler that is to get prefix maps: inside an action, whose outputs are then the same in every
/// checkout.
unsafe fn wants_maps(context: &Context<'_>, plain: &Plan) -> bool {
    // SAFETY: the caller vouches for the plan's lists.
    unsafe {
        let name = path::bytes(plain.path);
        let name = name.rsplit(|c| *c == b'/').next().unwrap_or(name);
        if state::trace().is_none() || context.has(mode::NO_PREFIX_MAP) || !rules::is_c_driver(name) {
            return false;
        }
        let args = arguments(plain.argv);
        !args.clone().any(rules::maps_paths) && rules::makes_objects(args)
    }
}

/// Builds lists and strings in one piece of memory.
pub struct Builder<'a> {
    room: &'a mut [u8],
    used: usize,
}

impl<'a> Builder<'a> {
    pub fn new(room: &'a mut [u8]) -> Self {
        Self { room, used: 0 }
    }

    /// # Safety
    /// The plan's path must be NUL-terminated, its lists null or NULL-terminated.
    pub unsafe fn build(mut self, context: &Context<'_>, verdict: &Verdict, plain: &Plan) -> Option<Plan> {
        // SAFETY: the caller vouches for the plain plan's lists.
        unsafe {
            match verdict {
                Verdict::Action(tool) => {
                    let exec = self.string(&[context.get(Field::Exec)])?;
                    let program = path::absolute(path::At::cwd(plain.path), |pieces| self.string(pieces?))?;
                    let name = self.string(&[b"vrift-exec"])?;
                    let tool = self.string(&[tool.name().as_bytes()])?;
                    let argv = self.list(plain.argv, &[], &[name, tool, program], &[])?;
                    let envp = self.environment(context, plain.envp, false, false)?;
                    Some(Plan { path: exec, argv, envp })
                }
                Verdict::Watch(_) => {
                    let exec = self.string(&[context.get(Field::Exec)])?;
                    let (name, mode) = (self.string(&[b"vrift-exec"])?, self.string(&[WATCH.as_bytes()])?);
                    // The path as it is: a script is told it.
                    let argv = self.list(plain.argv, &[], &[name, mode, plain.path], &[])?;
                    let envp = self.environment(context, plain.envp, false, false)?;
                    Some(Plan { path: exec, argv, envp })
                }
                Verdict::Follow | Verdict::Leave => {
                    let takes_all = rules::takes_all(path::bytes(plain.path), arguments(plain.argv));
                    let envp = self.environment(context, plain.envp, true, takes_all)?;
                    let argv = if wants_maps(context, plain) { self.mapped(context, plain.argv)? } else { plain.argv };
                    Some(Plan { path: plain.path, argv, envp })
                }
            }
        }
    }

    /// The arguments of a C compiler with its prefix maps, in front of all others: of several that match, the last counts.
    unsafe fn mapped(&mut self, context: &Context<'_>, argv: Strings) -> Option<Strings> {
        let map = |builder: &mut Self, field, to: &[u8]| match context.get(field) {
            b"" => Some(None),
            from => builder.string(&[PREFIX_MAP, from, b"=", state::PORTABLE.to_bytes(), to]).map(Some),
        };
        let (project, target) = (map(self, Field::Project, b"")?, map(self, Field::Target, b"/target")?);
        // SAFETY: the caller vouches for `argv`, which has a first entry.
        unsafe {
            match (project, target) {
                (Some(project), Some(target)) => self.list(argv.add(1), &[], &[*argv, project, target], &[]),
                (Some(map), None) | (None, Some(map)) => self.list(argv.add(1), &[], &[*argv, map], &[]),
                (None, None) => Some(argv),
            }
        }
    }

    /// The program's environment with the context and, if asked, this library as the first preload. `takes_all`: see
    /// [`rules::takes_all`].
    unsafe fn environment(&mut self, context: &Context<'_>, envp: Strings, preload: bool, takes_all: bool) -> Option<Strings> {
        // SAFETY: the caller vouches for `envp`.
        unsafe {
            let variable = self.context(context, takes_all)?;
            if !preload {
                return self.list(envp, &[env::CONTEXT.as_bytes()], &[], &[variable]);
            }
            let users = find(envp, b"LD_PRELOAD").unwrap_or(b"");
            let users = match users.strip_prefix(context.get(Field::Shim)) {
                Some(rest @ ([] | [b':', ..])) => rest.strip_prefix(b":").unwrap_or(rest),
                _ => users,
            };
            let colon: &[u8] = if users.is_empty() { b"" } else { b":" };
            let preloads = self.string(&[b"LD_PRELOAD=", context.get(Field::Shim), colon, users])?;
            self.list(envp, &[env::CONTEXT.as_bytes(), b"LD_PRELOAD"], &[], &[variable, preloads])
        }
    }

    fn context(&mut self, context: &Context<'_>, takes_all: bool) -> Option<*const c_char> {
        let start = self.used;
        self.push(env::CONTEXT.as_bytes())?;
        self.push(b"=")?;
        for (index, field) in context.fields().iter().enumerate() {
            if index > 0 {
                self.push(&[SEPARATOR])?;
            }
            if index == Field::Mode as usize {
                // The first is meant for this very program.
                let ends = |letter: u8| letter == mode::PORTABLE_CWD || (takes_all && letter == mode::NESTED);
                for letter in field.iter().filter(|letter| !ends(**letter)) {
                    self.push(&[*letter])?;
                }
            } else {
                self.push(field)?;
            }
        }
        self.push(b"\0")?;
        Some(self.room[start..].as_ptr().cast())
    }

    fn string(&mut self, pieces: &[&[u8]]) -> Option<*const c_char> {
        let start = self.used;
        for piece in pieces {
            self.push(piece)?;
        }
        self.push(b"\0")?;
        Some(self.room[start..].as_ptr().cast())
    }

    /// A NULL-terminated list: `first`, then `old` without the variables `without`, then `last`. Where `first` is given,
    /// `old` is a list of arguments.
    unsafe fn list(
        &mut self,
        old: Strings,
        without: &[&[u8]],
        first: &[*const c_char],
        last: &[*const c_char],
    ) -> Option<Strings> {
        let pad = self.room[self.used..].as_ptr().align_offset(align_of::<*const c_char>());
        self.used = self.used.checked_add(pad)?;
        let start = self.used;
        let mut push = |entry: *const c_char| self.push(&(entry as usize).to_ne_bytes());
        for entry in first {
            push(*entry)?;
        }
        let mut at = old;
        // SAFETY: the caller vouches for `old`.
        unsafe {
            while !at.is_null() && !(*at).is_null() {
                if !without.iter().any(|name| is_variable(*at, name)) {
                    push(*at)?;
                }
                at = at.add(1);
            }
        }
        for entry in last {
            push(*entry)?;
        }
        push(core::ptr::null())?;
        Some(self.room[start..].as_ptr().cast())
    }

    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.used.checked_add(bytes.len())?;
        self.room.get_mut(self.used..end)?.copy_from_slice(bytes);
        self.used = end;
        Some(())
    }
}

/// An upper bound of what [`Builder`] needs.
///
/// # Safety
/// `path` must be NUL-terminated, the lists null or NULL-terminated.
pub unsafe fn size_of_plan(context: &Context<'_>, path: *const c_char, argv: Strings, envp: Strings) -> usize {
    const POINTER: usize = size_of::<*const c_char>();
    // SAFETY: the caller vouches for all three.
    let (args, vars, path, users) =
        unsafe { (count(argv), count(envp), path::bytes(path).len(), find(envp, b"LD_PRELOAD").map_or(0, <[u8]>::len)) };
    let fields: usize = context.fields().iter().map(|field| field.len() + 1).sum();
    let maps = context.get(Field::Project).len() + context.get(Field::Target).len() + 2 * (PREFIX_MAP.len() + 32);
    let strings =
        maps + fields + path::ROOM + 2 * path + users + context.get(Field::Exec).len() + context.get(Field::Shim).len() + 256;
    strings + (args + vars + 16) * POINTER
}
