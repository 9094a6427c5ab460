//! The torture list; see TORTURE.md.

mod breaks_commands;
mod breaks_daemons;
mod breaks_machine;
mod breaks_processes;
mod breaks_programs;
mod ignores;
mod native_case;
mod native_clang;
mod native_notices;
mod native_profiles;
mod native_restore;
mod notices_env;
mod notices_files;
mod notices_flags;
mod notices_scripts;
mod npm_breaks;
mod npm_many;
mod npm_nested;
mod npm_notices;
mod npm_restore;
mod npm_steers;
mod restore;
mod restore_atomic;
mod restore_shared;
mod whole_builds;
