//! What the run said.

use vrift_core::action::StdioChunk;

use super::Reason;
use crate::command::Command;
use crate::tracer::Finished;

/// The standard streams, this checkout's paths replaced.
pub struct Said {
    pub chunks: Vec<StdioChunk>,
    /// A path of this checkout stands where it cannot be replaced for certain.
    pub bound: bool,
}

pub fn chunks(command: &Command, finished: &Finished) -> Result<Said, Reason> {
    let Some(stdio) = &finished.stdio else { return Err("it said more than is kept".to_owned()) };
    let roots = command.roots.per_checkout();
    let mut said = Said { chunks: Vec::new(), bound: false };
    for (stream, bytes) in stdio {
        if bytes.contains(&0) {
            // NUL marks placeholders. Output that holds it is no text.
            return Err("it wrote binary data to a standard stream".to_owned());
        }
        let text = roots.template_text(bytes);
        said.bound |= text.doubtful;
        said.chunks.push(StdioChunk { stream: *stream, text });
    }
    Ok(said)
}
