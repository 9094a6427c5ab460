//! When two records are of the same situation, and when they have the same result.

use vrift_core::action::{ActionRecord, EnvInput, Input, StdioChunk};
use vrift_core::digest::Digest;

use super::codec::Writer;

/// What a record's result depends on besides its key: two records that agree here apply to the same situations, so the
/// newer one replaces the older. The order in which inputs were seen does not count.
pub(super) fn conditions(record: &ActionRecord) -> Digest {
    let mut inputs: Vec<&Input> = record.inputs.iter().collect();
    inputs.sort_by(|a, b| a.path.cmp(&b.path));
    let mut env: Vec<&EnvInput> = record.env.iter().collect();
    env.sort_by(|a, b| a.name.cmp(&b.name));
    let mut bound: Vec<_> = record.bound.iter().collect();
    bound.sort();
    let mut w = Writer(Vec::with_capacity(4096));
    w.number(inputs.len() as u64);
    for input in inputs {
        w.bytes(input.path.as_bytes());
        w.input_state(&input.state);
    }
    w.number(env.len() as u64);
    for variable in env {
        w.bytes(&variable.name);
        w.0.push(u8::from(variable.value.is_some()));
        if let Some(value) = &variable.value {
            w.digest(value);
        }
    }
    w.0.push(u8::from(record.env_closed));
    w.number(bound.len() as u64);
    for (root, path) in bound {
        w.0.push(root.letter());
        w.bytes(path.as_bytes());
    }
    Digest::of(&w.0)
}

/// What a record restores.
pub(super) fn outcome(record: &ActionRecord) -> Digest {
    let mut w = Writer(Vec::with_capacity(1024));
    w.number(record.outputs.len() as u64);
    for output in &record.outputs {
        w.bytes(output.path.as_bytes());
        w.output_state(&output.state, output.optional);
    }
    w.number(record.stdio.len() as u64);
    for StdioChunk { stream, text } in &record.stdio {
        w.chunk(*stream, text);
    }
    Digest::of(&w.0)
}
