//! What an action is: one process and its children, with everything that went in and came out.

use serde::{Deserialize, Serialize};

use crate::bytes::ByteText;
use crate::digest::Digest;
use crate::paths::{AbsPath, Root, TemplatePath, TemplateText};
pub use crate::tool::Tool;

/// What is at a path, as far as an action looked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link (seen by `lstat` or `readlink` alone).
    Symlink,
    /// A device, pipe or socket.
    Other,
}

/// How an action looked at a path: what must stay the same for its result to hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// It was not there.
    Absent,
    /// The user may not look there, or not read it (`EACCES`).
    Barred,
    /// It was there; its kind was seen, links followed.
    Kind,
    /// Where it is a link, its target was seen; else its kind.
    Link,
    /// Itself was seen, a link not followed: its kind, for a link its target. Of a regular file size and times were seen, so that its
    /// content counts.
    Itself,
    /// Its entries were listed.
    Listing,
    /// Its content was read.
    Content,
    /// It was there, and the action changed it: what it held before counts.
    Before,
    /// The action changed it, and what was there before does not count where that was an earlier run's own output.
    Fresh,
    /// Its entries were listed, and the action made or removed some of them.
    Names,
}

/// What was found at an input's path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputState {
    /// Nothing.
    Absent,
    /// Something of this kind, links followed.
    Kind(FileKind),
    /// Something of this kind that is itself no symbolic link.
    Itself(FileKind),
    /// A symbolic link whose target hashes to this.
    Link(Digest),
    /// A folder whose sorted entry names hash to this.
    Listing(Digest),
    /// A regular file with this content. Of scripts and build scripts, which copy files: that nobody may execute.
    Content(Digest),
    /// The same, where somebody may.
    Program(Digest),
    /// Of scripts and build scripts: a regular file that somebody may execute, links followed. [`InputState::Kind`] is one that nobody
    /// may.
    Runnable,
    /// Nothing, or what an earlier run of the same command has left there. Of a folder all that is in it.
    Fresh,
    /// What the user may not read, be it there or not: `access(2)` gives `EACCES`.
    Barred,
}

/// One path that an action looked at.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Input {
    /// Where.
    pub path: TemplatePath,
    /// What was there.
    pub state: InputState,
}

/// One environment variable that an action looked at.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct EnvInput {
    /// Its name.
    pub name: ByteText,
    /// Digest of its value, known roots replaced; `None` where it was not set.
    pub value: Option<Digest>,
    /// The value for `vrift why`, where it is short and its name does not sound secret.
    pub shown: Option<String>,
}

/// How an output comes back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// May share an inode with the blob: its tools never rewrite it in place.
    Link,
    /// Gets an inode of its own.
    Copy,
    /// Text with placeholders: written anew with this checkout's paths.
    Render,
}

/// What an action left at a path.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputState {
    /// A regular file.
    File {
        /// Its content, or its template where `place` is [`Place::Render`].
        blob: Digest,
        /// Bytes of the blob.
        size: u64,
        /// Permission bits that it had.
        mode: u32,
        /// How it comes back.
        place: Place,
    },
    /// A folder.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: TemplateText,
    },
    /// Something that was there before is gone.
    Removed,
}

/// One path that an action changed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Output {
    /// Where.
    pub path: TemplatePath,
    /// What it left there.
    pub state: OutputState,
    /// The output matters to later runs of the tool alone (rustc's incremental folder): it comes back where nothing is in
    /// its place, and its absence is no fault.
    #[serde(default)]
    pub optional: bool,
}

/// A standard stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A piece of what an action wrote to its standard streams.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StdioChunk {
    /// To which stream.
    pub stream: Stream,
    /// What, this checkout's paths replaced.
    pub text: TemplateText,
}

/// What an action was asked to do, known roots replaced. Together with the program's content it makes the key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The kind of program.
    pub tool: Tool,
    /// The program's path.
    pub program: TemplatePath,
    /// The program's content.
    pub program_digest: Digest,
    /// Arguments that matter, the program's name first.
    pub argv: Vec<TemplateText>,
    /// The working folder.
    pub cwd: TemplatePath,
    /// File creation mask.
    pub umask: u32,
}

/// An action with its result: what the action cache stores.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActionRecord {
    /// Digest of `request` and of what the tool's rule adds.
    pub key: Digest,
    /// For people: `serde 1.0.219 lib`, `libc 0.2.175 build script`.
    pub label: String,
    /// What was asked.
    pub request: Request,
    /// What it looked at.
    pub inputs: Vec<Input>,
    /// Variables that it looked at.
    pub env: Vec<EnvInput>,
    /// It may have looked at all variables: one that `env` does not list and that is no session noise must be unset.
    pub env_closed: bool,
    /// What it left behind, folders before what is in them.
    pub outputs: Vec<Output>,
    /// What it said.
    pub stdio: Vec<StdioChunk>,
    /// Roots whose paths its outputs carry: the result holds only where these are the same. Empty: it holds anywhere.
    pub bound: Vec<(Root, AbsPath)>,
    /// Wall time of the run that made it, microseconds.
    pub wall_us: u64,
    /// User and system time of that run, microseconds.
    pub cpu_us: u64,
}
