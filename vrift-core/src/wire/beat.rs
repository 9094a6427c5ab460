//! Signs of life: what a server sends while a client waits for an answer.
//!
//! Some answers take long: another build computes the same, a large file is hashed. So that a client can tell a server that is
//! at work from one that was stopped or hangs, the thread that works on the request says so every [`BEAT`], and a client
//! that hears nothing for [`SILENCE`] goes on without an answer.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::frame::{FrameError, encode, read_frame};
use super::methods::method;
use super::rpc::Request;

/// How often a server that works on a request says so.
pub const BEAT: Duration = Duration::from_millis(500);

/// Silence after which a server is taken for dead: several beats, for a machine that is busy.
pub const SILENCE: Duration = Duration::from_secs(2);

/// A longer frame is an answer; it need not be looked at twice.
const LONGEST_BEAT: usize = 256;

/// [`method::WORKING`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct WorkingParams {
    /// The request that is worked on.
    pub id: u64,
}

/// A whole frame that says that request `id` is worked on.
///
/// # Errors
/// As [`encode`].
pub fn beat(id: u64) -> Result<Vec<u8>, FrameError> {
    encode(&Request::notification(method::WORKING, WorkingParams { id }))
}

/// Reads the JSON of the answer that is awaited on a connection, however many signs of life come before it, which are told to
/// `alive`. How long silence may last is the connection's own timeout; `longest` bounds the whole wait.
///
/// # Errors
/// See [`FrameError`]; an answer that takes longer is an I/O error.
pub fn read_answer(from: &mut impl Read, longest: Duration, mut alive: impl FnMut()) -> Result<Vec<u8>, FrameError> {
    let began = Instant::now();
    loop {
        let json = read_frame(from)?;
        if !is_beat(&json) {
            return Ok(json);
        }
        if began.elapsed() >= longest {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        alive();
    }
}

fn is_beat(json: &[u8]) -> bool {
    json.len() <= LONGEST_BEAT
        && serde_json::from_slice::<Request<IgnoredAny>>(json)
            .is_ok_and(|said| said.method == method::WORKING && said.id.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reply;

    #[test]
    fn answers_are_found_behind_signs_of_life() {
        let answer = encode(&Reply::ok(true, Some(7))).expect("encodes");
        let said = [beat(7).expect("encodes"), beat(7).expect("encodes"), answer.clone()].concat();
        let mut beats = 0;
        let json = read_answer(&mut &said[..], BEAT, || beats += 1).expect("an answer");
        assert_eq!((json, beats), (answer[4..].to_vec(), 2));
        assert!(matches!(read_answer(&mut &said[..], Duration::ZERO, || ()), Err(FrameError::Io(_))), "it takes too long");
        assert!(beat(u64::MAX).expect("encodes").len() - 4 <= LONGEST_BEAT);
    }
}
