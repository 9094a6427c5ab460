//! What vrift knows about programs, as data: which are worth an action, which arguments and variables matter to them.
//!
//! A rule may only leave out what provably cannot change a result; each entry says why. What no rule mentions counts.

#[cfg(feature = "std")]
mod argv;
mod environment;
#[cfg(feature = "std")]
mod label;
mod places;
mod programs;
#[cfg(feature = "std")]
mod script;

#[cfg(feature = "std")]
pub use argv::{is_for_this_processor, is_of_configure, is_probe, request_argv, scratch_folder};
pub use environment::{is_session_noise, key_env, reads_env_by_name, sounds_secret, unimportant_read};
#[cfg(feature = "std")]
pub use label::label;
pub use places::is_of_the_kernel;
pub use programs::{
    Enclosing, classify, configures, is_archiver, is_c_compiler, is_c_driver, is_listed, is_mode_attribute, makes_objects,
    maps_paths, takes_all,
};
#[cfg(feature = "std")]
pub use script::{ScriptRules, is_build_info};
