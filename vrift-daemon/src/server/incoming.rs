//! Requests of one connection, a frame at a time.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vrift_core::wire::{FRAME_HEADER, FrameError, decode_len};

/// A connection that says nothing for so long is closed.
pub const IDLE_TIME: Duration = Duration::from_secs(600);

/// The same where many others are connected.
pub const CROWDED_TIME: Duration = Duration::from_secs(10);

/// A frame that was begun has to be whole by then, and an answer to be taken.
pub const FRAME_TIME: Duration = Duration::from_secs(10);

/// The buffer at first: most requests fit, and arrive in one read.
const FIRST_BUFFER: usize = 32 << 10;

/// Beyond this the buffer shrinks again once a frame is done.
const KEPT_BUFFER: usize = 1 << 20;

/// Reads frames.
pub struct Incoming<'a> {
    stream: &'a UnixStream,
    buffer: Vec<u8>,
    /// `buffer[start..end]` arrived and was not given out.
    start: usize,
    end: usize,
    timeout: Duration,
}

impl<'a> Incoming<'a> {
    /// A reader for a fresh connection.
    ///
    /// # Errors
    /// Where its timeouts cannot be set.
    pub fn new(stream: &'a UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(CROWDED_TIME))?;
        stream.set_write_timeout(Some(FRAME_TIME))?;
        Ok(Self { stream, buffer: vec![0; FIRST_BUFFER], start: 0, end: 0, timeout: CROWDED_TIME })
    }

    /// The next frame's JSON; `None` where the client was silent for too long, which is sooner where it is `crowded`, and
    /// `keep` does not ask to stay.
    ///
    /// # Errors
    /// See [`FrameError`]; a frame that takes longer than [`FRAME_TIME`] is an I/O error.
    pub fn next(&mut self, keep: impl Fn() -> bool, crowded: impl Fn() -> bool) -> Result<Option<&[u8]>, FrameError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.buffer.truncate(KEPT_BUFFER);
        }
        let mut begun = None;
        let quiet = Instant::now();
        loop {
            if let Some(len) = self.frame_len()? {
                let whole = FRAME_HEADER + len;
                if self.end - self.start >= whole {
                    let json = self.start + FRAME_HEADER..self.start + whole;
                    self.start += whole;
                    return Ok(Some(&self.buffer[json]));
                }
                self.make_room(whole);
            } else {
                self.make_room(FRAME_HEADER);
            }
            let within = match self.end > self.start {
                true => FRAME_TIME.saturating_sub(begun.get_or_insert_with(Instant::now).elapsed()),
                false => CROWDED_TIME,
            };
            if within.is_zero() {
                return Err(FrameError::Io(io::ErrorKind::TimedOut.into()));
            }
            match self.read_more(within) {
                Ok(0) if self.end == self.start => return Err(FrameError::Closed),
                Ok(0) => return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && self.end == self.start => {
                    let long = quiet.elapsed();
                    if (long >= IDLE_TIME || long >= CROWDED_TIME && crowded()) && !keep() {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(FrameError::Io(e)),
            }
        }
    }

    fn frame_len(&self) -> Result<Option<usize>, FrameError> {
        match self.buffer[self.start..self.end].first_chunk::<FRAME_HEADER>() {
            Some(header) => decode_len(*header).map(Some),
            None => Ok(None),
        }
    }

    /// Makes sure that something can be read. The buffer at most doubles at a time, as bytes arrive: a length alone makes
    /// nobody allocate the limit.
    fn make_room(&mut self, whole: usize) {
        if self.start > 0 && self.start + whole > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let doubled = (self.buffer.len() * 2).min(whole.max(FIRST_BUFFER));
            self.buffer.resize(doubled.max(self.end + 1), 0);
        }
    }

    fn read_more(&mut self, within: Duration) -> io::Result<usize> {
        if within != self.timeout {
            self.stream.set_read_timeout(Some(within))?;
            self.timeout = within;
        }
        let read = (&mut &*self.stream).read(&mut self.buffer[self.end..])?;
        self.end += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use vrift_core::wire::encode;

    use super::*;

    #[test]
    fn frames_in_pieces_and_frames_in_one_go() {
        let (mut client, server) = UnixStream::pair().expect("pair");
        let mut incoming = Incoming::new(&server).expect("reader");
        let long = "x".repeat(100_000);
        let (a, b) = (encode(&"a").expect("encodes"), encode(&long).expect("encodes"));
        let writer = std::thread::spawn(move || {
            let all = [a.clone(), a, b].concat();
            for piece in all.chunks(33_333) {
                client.write_all(piece).expect("writes");
            }
        });
        assert_eq!(incoming.next(|| false, || false).expect("reads"), Some(&b"\"a\""[..]));
        assert_eq!(incoming.next(|| false, || false).expect("reads"), Some(&b"\"a\""[..]));
        assert_eq!(incoming.next(|| false, || false).expect("reads").map(<[u8]>::len), Some(100_002));
        writer.join().expect("writer");
        assert!(matches!(incoming.next(|| false, || false), Err(FrameError::Closed)));
    }

    #[test]
    fn too_long_and_broken_off() {
        let (mut client, server) = UnixStream::pair().expect("pair");
        let mut incoming = Incoming::new(&server).expect("reader");
        client.write_all(&u32::MAX.to_le_bytes()).expect("writes");
        assert!(matches!(incoming.next(|| false, || false), Err(FrameError::TooLong(_))));
        let (mut client, server) = UnixStream::pair().expect("pair");
        let mut incoming = Incoming::new(&server).expect("reader");
        client.write_all(&[9, 0, 0, 0, b'{']).expect("writes");
        drop(client);
        assert!(matches!(incoming.next(|| false, || false), Err(FrameError::Io(_))));
    }
}
