//! What programs say that run at the same time: each program's in one piece.
//!
//! One of them has the turn, and what it says is shown as it comes. The others' is kept until they have it. Whoever has said more than is
//! kept waits, so memory stays bounded.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write, stderr, stdout};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::live::Live;

/// Bytes that are kept of one program.
const MOST_KEPT: usize = 1 << 20;

/// A stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// Whether this process's is a terminal.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Out => stdout().is_terminal(),
            Self::Err => stderr().is_terminal(),
        }
    }

    /// A reader that has gone does not end the programs.
    fn write(self, bytes: &[u8]) {
        let _ = match self {
            Self::Out => {
                let mut out = stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Self::Err => stderr().lock().write_all(bytes),
        };
    }
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    holder: Option<usize>,
    /// Those that have ended and not had their turn, in order. They come before those that run, which may build on them.
    ended: VecDeque<usize>,
}

impl State {
    fn is_free_for(&self, id: usize) -> bool {
        match self.holder {
            Some(holder) => holder == id,
            None => self.ended.front().is_none_or(|first| *first == id),
        }
    }
}

/// One program's part in it.
#[derive(Debug)]
pub struct Group<'a> {
    turns: &'a Turns,
    /// The children of this process that signals go to.
    pub live: &'a Live,
    id: usize,
    kept: Vec<(Stream, Vec<u8>)>,
    size: usize,
}

impl<'a> Group<'a> {
    /// `id` is this program's alone.
    pub fn new(turns: &'a Turns, live: &'a Live, id: usize) -> Self {
        Self { turns, live, id, kept: Vec::new(), size: 0 }
    }

    /// Says something.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        match self.kept.last_mut() {
            Some((last, text)) if *last == stream => text.extend_from_slice(bytes),
            _ => self.kept.push((stream, bytes.to_vec())),
        }
        self.size += bytes.len();
        let patient = self.size < MOST_KEPT;
        drop(self.show(!patient));
    }

    /// Whether something waits for its turn.
    pub fn keeps_something(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Shows what is kept, where it is its turn now.
    pub fn try_to_show(&mut self) {
        drop(self.show(false));
    }

    /// It says nothing more: those that start from now on come behind it.
    pub fn has_ended(&self) {
        lock(&self.turns.state).ended.push_back(self.id);
    }

    /// Says the rest, and gives the turn to somebody else.
    pub fn end(mut self) {
        let mut state = self.show(true);
        state.ended.retain(|id| *id != self.id);
        state.holder = None;
        self.turns.changed.notify_all();
    }

    /// Shows what is kept where it is this program's turn; waits for that if `must`.
    fn show(&mut self, must: bool) -> MutexGuard<'a, State> {
        let mut state = lock(&self.turns.state);
        while must && !state.is_free_for(self.id) {
            state = self.turns.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_free_for(self.id) {
            state.holder = Some(self.id);
            self.size = 0;
            for (stream, bytes) in mem::take(&mut self.kept) {
                stream.write(&bytes);
            }
        }
        state
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a program's output goes.
pub enum To<'g, 'a> {
    /// To this process's own streams.
    Own,
    /// Into a group.
    Group(&'g mut Group<'a>),
}

impl To<'_, '_> {
    /// Writes to standard output.
    pub fn say(&mut self, text: &str) {
        match self {
            Self::Own => crate::say::out(text),
            Self::Group(group) => group.write(Stream::Out, text.as_bytes()),
        }
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&mut self, command: std::process::Command) -> io::Result<std::process::ExitStatus> {
        match self {
            Self::Own => crate::front::run_child(command),
            Self::Group(group) => super::live::run(command, group),
        }
    }
}
