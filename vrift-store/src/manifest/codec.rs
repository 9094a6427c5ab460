//! The bytes of a stored action.
//!
//! Records are decoded on the way to every hit, so they are binary, small and read in one pass; docs/formats.md draws them.
//! Paths come sorted or nearly so, and share most of their beginnings: each is stored as the number of bytes that it shares
//! with the one before, and the rest.
//!
//! Decoding trusts nothing: a checksum comes first, every length is checked against what is left, every tag against the
//! known ones. What does not decode is a miss.

use vrift_core::action::{
    ActionRecord, EnvInput, FileKind, Input, InputState, Output, OutputState, Place, Request, StdioChunk, Stream, Tool,
};
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::paths::{AbsPath, Root, TemplatePath, TemplateText};

/// First byte of a record.
const VERSION: u8 = 1;

/// Bytes of the checksum: the first of the BLAKE3 hash of what follows it.
const SUM: usize = 8;

/// The largest record that is stored, bytes.
pub const MAX_RECORD: usize = 32 * 1024 * 1024;

/// Why stored bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another version wrote it.
    #[error("the record has an unknown version")]
    Version,
    /// Bytes were lost or flipped.
    #[error("the record does not match its checksum")]
    Checksum,
    /// It ends too early.
    #[error("the record is cut off")]
    Short,
    /// A tag, letter or text is not one that this version writes.
    #[error("the record holds an unknown {0}")]
    Unknown(&'static str),
    /// Something follows its end.
    #[error("something follows the record")]
    Trailing,
}

/// The stored form of `record`.
pub fn encode(record: &ActionRecord) -> Vec<u8> {
    let ActionRecord { key, label, request, inputs, env, env_closed, outputs, stdio, bound, wall_us, cpu_us } = record;
    let mut w = Writer(Vec::with_capacity(4096));
    w.0.push(VERSION);
    w.0.extend_from_slice(&[0; SUM]);
    w.digest(key);
    w.bytes(label.as_bytes());
    w.request(request);
    w.number(inputs.len() as u64);
    let mut last: &[u8] = &[];
    for Input { path, state } in inputs {
        w.path(&mut last, path.as_bytes());
        w.input_state(state);
    }
    w.number(env.len() as u64);
    for EnvInput { name, value, shown } in env {
        w.bytes(name);
        w.0.push(u8::from(value.is_some()) | u8::from(shown.is_some()) << 1);
        if let Some(value) = value {
            w.digest(value);
        }
        if let Some(shown) = shown {
            w.bytes(shown.as_bytes());
        }
    }
    w.0.push(u8::from(*env_closed));
    w.number(outputs.len() as u64);
    last = &[];
    for Output { path, state, optional } in outputs {
        w.path(&mut last, path.as_bytes());
        w.output_state(state, *optional);
    }
    w.number(stdio.len() as u64);
    for StdioChunk { stream, text } in stdio {
        w.chunk(*stream, text);
    }
    w.number(bound.len() as u64);
    for (root, path) in bound {
        w.0.push(root.letter());
        w.bytes(path.as_bytes());
    }
    w.number(*wall_us);
    w.number(*cpu_us);
    let sum = checksum(&w.0[1 + SUM..]);
    w.0[1..=SUM].copy_from_slice(&sum);
    w.0
}

/// The record of which [`encode`] made `bytes`.
///
/// # Errors
/// [`DecodeError`].
pub fn decode(bytes: &[u8]) -> Result<ActionRecord, DecodeError> {
    let (&version, rest) = bytes.split_first().ok_or(DecodeError::Short)?;
    if version != VERSION {
        return Err(DecodeError::Version);
    }
    let (sum, body) = rest.split_at_checked(SUM).ok_or(DecodeError::Short)?;
    if sum != checksum(body) {
        return Err(DecodeError::Checksum);
    }
    let mut r = Reader(body);
    let key = r.digest()?;
    let label = r.string()?;
    let request = r.request()?;
    let mut last = Vec::new();
    let inputs = r.list(|r| Ok(Input { path: r.path(&mut last)?, state: r.input_state()? }))?;
    let env = r.list(|r| {
        let name = ByteText(r.bytes()?.to_vec());
        let flags = r.byte()?;
        if flags > 3 {
            return Err(DecodeError::Unknown("flag of a variable"));
        }
        let value = if flags & 1 != 0 { Some(r.digest()?) } else { None };
        let shown = if flags & 2 != 0 { Some(r.string()?) } else { None };
        Ok(EnvInput { name, value, shown })
    })?;
    let env_closed = r.flag()?;
    let mut last = Vec::new();
    let outputs = r.list(|r| {
        let path = r.path(&mut last)?;
        let (state, optional) = r.output_state()?;
        Ok(Output { path, state, optional })
    })?;
    let stdio = r.list(|r| {
        let stream = match r.byte()? {
            1 => Stream::Out,
            2 => Stream::Err,
            _ => return Err(DecodeError::Unknown("stream")),
        };
        Ok(StdioChunk { stream, text: r.text()? })
    })?;
    let bound = r.list(|r| {
        let root = Root::from_letter(r.byte()?).ok_or(DecodeError::Unknown("root"))?;
        let path = AbsPath::new(r.bytes()?).map_err(|_| DecodeError::Unknown("path"))?;
        Ok((root, path))
    })?;
    let (wall_us, cpu_us) = (r.number()?, r.number()?);
    if !r.0.is_empty() {
        return Err(DecodeError::Trailing);
    }
    Ok(ActionRecord { key, label, request, inputs, env, env_closed, outputs, stdio, bound, wall_us, cpu_us })
}

fn checksum(body: &[u8]) -> [u8; SUM] {
    let mut sum = [0; SUM];
    sum.copy_from_slice(&blake3::hash(body).as_bytes()[..SUM]);
    sum
}

/// Appends the parts of a record.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// LEB128: seven bits a byte, lowest first.
    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn digest(&mut self, digest: &Digest) {
        self.0.extend_from_slice(digest.as_bytes());
    }

    pub(super) fn path<'a>(&mut self, last: &mut &'a [u8], path: &'a [u8]) {
        let shared = last.iter().zip(path).take_while(|(a, b)| a == b).count();
        self.number(shared as u64);
        self.bytes(&path[shared..]);
        *last = path;
    }

    pub(super) fn text(&mut self, text: &TemplateText) {
        let TemplateText { bytes, placeholders, doubtful } = text;
        self.bytes(bytes);
        self.number(u64::from(*placeholders));
        self.0.push(u8::from(*doubtful));
    }

    pub(super) fn chunk(&mut self, stream: Stream, text: &TemplateText) {
        self.0.push(match stream {
            Stream::Out => 1,
            Stream::Err => 2,
        });
        self.text(text);
    }

    pub(super) fn request(&mut self, request: &Request) {
        let Request { tool, program, program_digest, argv, cwd, umask } = request;
        self.0.push(*tool as u8);
        self.bytes(program.as_bytes());
        self.digest(program_digest);
        self.number(argv.len() as u64);
        for argument in argv {
            self.text(argument);
        }
        self.bytes(cwd.as_bytes());
        self.number(u64::from(*umask));
    }

    pub(super) fn input_state(&mut self, state: &InputState) {
        let (tag, digest) = match state {
            InputState::Absent => (0, None),
            InputState::Kind(FileKind::File) => (1, None),
            InputState::Kind(FileKind::Dir) => (2, None),
            InputState::Kind(FileKind::Symlink) => (3, None),
            InputState::Kind(FileKind::Other) => (4, None),
            InputState::Link(digest) => (5, Some(digest)),
            InputState::Listing(digest) => (6, Some(digest)),
            InputState::Content(digest) => (7, Some(digest)),
            InputState::Itself(FileKind::File) => (8, None),
            InputState::Itself(FileKind::Dir) => (9, None),
            InputState::Itself(FileKind::Symlink) => (10, None),
            InputState::Itself(FileKind::Other) => (11, None),
            InputState::Fresh => (12, None),
            InputState::Program(digest) => (13, Some(digest)),
            InputState::Runnable => (14, None),
            InputState::Barred => (15, None),
        };
        self.0.push(tag);
        if let Some(digest) = digest {
            self.digest(digest);
        }
    }

    pub(super) fn output_state(&mut self, state: &OutputState, optional: bool) {
        let tag = match state {
            OutputState::File { place: Place::Link, .. } => 1,
            OutputState::File { place: Place::Copy, .. } => 2,
            OutputState::File { place: Place::Render, .. } => 3,
            OutputState::Dir { .. } => 4,
            OutputState::Symlink { .. } => 5,
            OutputState::Removed => 6,
        };
        self.0.push(tag | if optional { OPTIONAL } else { 0 });
        match state {
            OutputState::File { blob, size, mode, place: _ } => {
                self.digest(blob);
                self.number(*size);
                self.number(u64::from(*mode));
            }
            OutputState::Dir { mode } => self.number(u64::from(*mode)),
            OutputState::Symlink { target } => self.text(target),
            OutputState::Removed => {}
        }
    }
}

/// Set in the tag of an optional output.
const OPTIONAL: u8 = 0x80;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.0.split_first().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(byte)
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Unknown("flag")),
        }
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Unknown("number"))
    }

    fn small(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.number()?).map_err(|_| DecodeError::Unknown("number"))
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.number()?).map_err(|_| DecodeError::Short)
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length()?;
        self.take(length)
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        std::str::from_utf8(self.bytes()?).map(str::to_owned).map_err(|_| DecodeError::Unknown("text"))
    }

    fn digest(&mut self) -> Result<Digest, DecodeError> {
        Digest::from_slice(self.take(32)?).ok_or(DecodeError::Short)
    }

    /// Every element takes at least one byte, so what is left bounds what is set aside.
    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
        let count = self.length()?;
        if count > self.0.len() {
            return Err(DecodeError::Short);
        }
        let mut list = Vec::with_capacity(count.min(4096));
        for _ in 0..count {
            list.push(one(self)?);
        }
        Ok(list)
    }

    fn path(&mut self, last: &mut Vec<u8>) -> Result<TemplatePath, DecodeError> {
        let shared = self.length()?;
        if shared > last.len() {
            return Err(DecodeError::Short);
        }
        last.truncate(shared);
        last.extend_from_slice(self.bytes()?);
        Ok(TemplatePath::from_stored(last))
    }

    fn text(&mut self) -> Result<TemplateText, DecodeError> {
        let bytes = ByteText(self.bytes()?.to_vec());
        Ok(TemplateText { bytes, placeholders: self.small()?, doubtful: self.flag()? })
    }

    fn request(&mut self) -> Result<Request, DecodeError> {
        let tool = self.byte()?;
        let tool = Tool::ALL.into_iter().find(|known| *known as u8 == tool).ok_or(DecodeError::Unknown("tool"))?;
        let program = TemplatePath::from_stored(self.bytes()?);
        let program_digest = self.digest()?;
        let argv = self.list(Self::text)?;
        let cwd = TemplatePath::from_stored(self.bytes()?);
        Ok(Request { tool, program, program_digest, argv, cwd, umask: self.small()? })
    }

    fn input_state(&mut self) -> Result<InputState, DecodeError> {
        Ok(match self.byte()? {
            0 => InputState::Absent,
            1 => InputState::Kind(FileKind::File),
            2 => InputState::Kind(FileKind::Dir),
            3 => InputState::Kind(FileKind::Symlink),
            4 => InputState::Kind(FileKind::Other),
            5 => InputState::Link(self.digest()?),
            6 => InputState::Listing(self.digest()?),
            7 => InputState::Content(self.digest()?),
            8 => InputState::Itself(FileKind::File),
            9 => InputState::Itself(FileKind::Dir),
            10 => InputState::Itself(FileKind::Symlink),
            11 => InputState::Itself(FileKind::Other),
            12 => InputState::Fresh,
            13 => InputState::Program(self.digest()?),
            14 => InputState::Runnable,
            15 => InputState::Barred,
            _ => return Err(DecodeError::Unknown("kind of input")),
        })
    }

    fn output_state(&mut self) -> Result<(OutputState, bool), DecodeError> {
        let tag = self.byte()?;
        let place = match tag & !OPTIONAL {
            1 => Some(Place::Link),
            2 => Some(Place::Copy),
            3 => Some(Place::Render),
            _ => None,
        };
        let state = match (tag & !OPTIONAL, place) {
            (_, Some(place)) => OutputState::File { blob: self.digest()?, size: self.number()?, mode: self.small()?, place },
            (4, _) => OutputState::Dir { mode: self.small()? },
            (5, _) => OutputState::Symlink { target: self.text()? },
            (6, _) => OutputState::Removed,
            _ => return Err(DecodeError::Unknown("kind of output")),
        };
        Ok((state, tag & OPTIONAL != 0))
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
