//! The torture list; see TORTURE.md.

mod ignores;
mod notices_env;
mod notices_files;
mod notices_flags;
mod notices_scripts;
