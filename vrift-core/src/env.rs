//! Every environment variable that vrift reads or sets, in one place.
//!
//! Variables marked *user* are for people; those marked *internal* pass between vrift's own processes, change without
//! notice and are hidden from the programs that run under vrift.

/// *user.* `1` switches everything off: commands run as if vrift were not installed.
pub const DISABLE: &str = "VRIFT_DISABLE";

/// *user.* The project's root, instead of detecting it.
pub const PROJECT_ROOT: &str = "VRIFT_PROJECT_ROOT";

/// *user.* The branch: with another value, another project id, worker and VDir.
pub const PROJECT_BRANCH: &str = "VRIFT_PROJECT_BRANCH";

/// *user.* vrift's state folder, `~/.vrift` by default.
pub const HOME: &str = "VRIFT_HOME";

/// *user.* Where the content-addressed store is, instead of `<state folder>/the_source`.
pub const THE_SOURCE: &str = "VR_THE_SOURCE";

/// *user.* A folder that receives one text file for each action that ran: its trace, its inputs and its outputs.
pub const TRACE_DIR: &str = "VRIFT_TRACE_DIR";

/// *user.* A `tracing` filter for the log of the daemons, for example `debug`.
pub const LOG: &str = "VRIFT_LOG";

/// *user.* `off` keeps compilers from getting prefix maps; debug info then names the checkout, and what holds such a path is
/// valid in that checkout alone.
pub const PREFIX_MAP: &str = "VRIFT_PREFIX_MAP";

/// *user.* `off`: actions are looked up one by one, as Cargo asks for them, and never a whole build at once.
pub const WHOLE_BUILDS: &str = "VRIFT_WHOLE_BUILDS";

/// *user.* `1`: run everything for real and record it, as into an empty store (what an uncached build is compared with).
pub const RECACHE: &str = "VRIFT_RECACHE";

/// *user.* The program `vrift` that the npm package's launcher starts, instead of the one that npm installed with it. Read by
/// `npm-vrift/lib/platform.js` alone.
pub const BINARY: &str = "VRIFT_BINARY";

/// *internal.* What a process under vrift must know; see [`crate::context`].
pub const CONTEXT: &str = "VRIFT_CONTEXT";

/// Variables with these names start with [`PREFIX`] or are listed here; none of them is an input of any action.
pub fn is_own(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes()) || name == THE_SOURCE.as_bytes()
}

/// What the names of vrift's own variables start with.
pub const PREFIX: &str = "VRIFT_";
