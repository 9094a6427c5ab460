//! Paths that cannot be mixed up.
//!
//! Three kinds of path meet in vrift and look alike as strings, so each has its own type:
//!
//! - [`AbsPath`]: where a file is on this machine, lexically clean, starting with `/`;
//! - [`ProjectPath`]: where a file is inside its project;
//! - [`TemplatePath`]: where a file is in any checkout: known roots are replaced by placeholders, see [`Roots`].
//!
//! Only the third may enter a key or the manifest of the shared base.

mod abs;
mod roots;
mod template;

pub use abs::{AbsPath, PathError, ProjectPath};
pub use roots::{Root, Roots};
pub use template::{TemplatePath, TemplateText};
