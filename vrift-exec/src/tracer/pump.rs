//! Passing output on while keeping it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use vrift_core::action::Stream;

use super::kernel::Supervisor;
use super::wait_readable;

/// More output than this is passed on but not kept: the action is not stored.
const MOST_KEPT: usize = 8 << 20;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// An end to read from.
pub struct Source {
    pub from: File,
    pub stream: Stream,
}

/// All output in order, a piece a stream; nothing where it is too much.
pub type Kept = Option<Vec<(Stream, Vec<u8>)>>;

/// Passes on until every source has ended.
///
/// `program` is a descriptor that is readable once the program has ended, if there is one. Where sources outlive it, some
/// process that it left behind holds them: whoever waits for the program must not wait for that. A copy of this process goes on
/// in the background, and nothing is kept. That is so when the output has gone on for `grace` without a word: what is still in a pipe
/// comes at once.
///
/// `supervisor` is started when somebody comes to it.
///
/// `rewrite` may give other text to pass on and keep instead.
pub fn pump(
    mut sources: Vec<Source>,
    mut program: Option<&File>,
    grace: Duration,
    supervisor: &mut Supervisor,
    rewrite: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Kept {
    let mut kept = Some(Vec::new());
    let mut total = 0;
    let mut buffer = vec![0; CHUNK];
    let mut rest = -1;
    while !sources.is_empty() {
        let from = sources.iter().map(|source| source.from.as_raw_fd());
        let launcher = supervisor.waiting();
        let mut ready = wait_readable(from.chain(program.map(AsRawFd::as_raw_fd)).chain(launcher), rest);
        if launcher.is_some() && ready.pop() == Some(true) {
            supervisor.start();
        }
        if program.is_some() && ready.pop() == Some(true) {
            (program, rest) = (None, i32::try_from(grace.as_millis()).unwrap_or(i32::MAX));
        } else if rest >= 0 && !ready.contains(&true) {
            if super::stay_behind() {
                // What else this process has open is its original's: a listener here would keep calls waiting that nobody answers.
                let kept = sources.iter().map(|source| source.from.as_raw_fd()).chain([0, 1, 2]);
                super::close_all_but(&kept.collect::<Vec<_>>());
                rest = -1;
            } else {
                return None;
            }
        }
        let mut ready = ready.into_iter();
        sources.retain_mut(|source| {
            if !ready.next().unwrap_or(true) {
                return true;
            }
            match source.from.read(&mut buffer) {
                Ok(0) => false,
                Ok(len) => {
                    let rewritten = rewrite(&buffer[..len]);
                    let text = rewritten.as_deref().unwrap_or(&buffer[..len]);
                    pass_on(source.stream, text);
                    total += text.len();
                    keep(&mut kept, total, source.stream, text);
                    true
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => true,
                // EIO: the last user of a terminal has gone.
                Err(_) => false,
            }
        });
    }
    super::end_if_behind();
    kept
}

fn keep(kept: &mut Kept, total: usize, stream: Stream, bytes: &[u8]) {
    if total > MOST_KEPT {
        *kept = None;
    }
    let Some(list) = kept else { return };
    match list.last_mut() {
        Some((last, text)) if *last == stream => text.extend_from_slice(bytes),
        _ => list.push((stream, bytes.to_vec())),
    }
}

fn pass_on(stream: Stream, bytes: &[u8]) {
    // A reader that has gone is the program's business: it gets no SIGPIPE through us, but its own next write will not be read.
    let _ = match stream {
        Stream::Out => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Err => io::stderr().lock().write_all(bytes),
    };
}
