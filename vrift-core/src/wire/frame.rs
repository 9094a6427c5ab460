//! Frames: a 4-byte little-endian length, then that many bytes of JSON.

use std::io::{self, Read, Write};

/// The largest frame. A larger length is an error before anything is allocated.
pub const MAX_FRAME: usize = 64 << 20;

/// Bytes before the JSON.
pub const FRAME_HEADER: usize = 4;

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is beyond [`MAX_FRAME`].
    #[error("frame of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLong(usize),
    /// The other side closed the connection between two frames.
    #[error("connection closed")]
    Closed,
    /// The socket failed, or closed inside a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The JSON's length as a frame header says it.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn decode_len(header: [u8; FRAME_HEADER]) -> Result<usize, FrameError> {
    let len = u32::from_le_bytes(header) as usize;
    if len > MAX_FRAME { Err(FrameError::TooLong(len)) } else { Ok(len) }
}

/// A whole frame for `message`.
///
/// # Errors
/// [`FrameError::TooLong`]; serialisation of wire types does not fail.
pub fn encode<T: serde::Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; FRAME_HEADER];
    serde_json::to_writer(&mut frame, message).map_err(io::Error::from)?;
    let len = frame.len() - FRAME_HEADER;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len));
    }
    frame[..FRAME_HEADER].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(frame)
}

/// Reads a message's JSON.
///
/// # Errors
/// [`FrameError::Io`] where it does not parse.
pub fn decode<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(json).map_err(io::Error::from)?)
}

/// Writes one message.
///
/// # Errors
/// As [`encode`], and what the socket gives.
pub fn write_frame<T: serde::Serialize>(to: &mut impl Write, message: &T) -> Result<(), FrameError> {
    Ok(to.write_all(&encode(message)?)?)
}

/// Reads one message's JSON.
///
/// # Errors
/// See [`FrameError`].
pub fn read_frame(from: &mut impl Read) -> Result<Vec<u8>, FrameError> {
    let mut header = [0; FRAME_HEADER];
    match from.read_exact(&mut header) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(FrameError::Closed),
        other => other?,
    }
    // The buffer grows as bytes arrive, so a length alone makes nobody allocate 64 MiB.
    let len = decode_len(header)?;
    let mut json = Vec::with_capacity(len.min(64 << 10));
    if from.take(len as u64).read_to_end(&mut json)? < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_are_limited() {
        let frame = encode(&"hello").expect("encodes");
        assert_eq!(read_frame(&mut &frame[..]).expect("reads"), b"\"hello\"");
        assert!(matches!(read_frame(&mut &b""[..]), Err(FrameError::Closed)));
        assert!(matches!(read_frame(&mut &frame[..6]), Err(FrameError::Io(_))));
        assert!(matches!(read_frame(&mut &u32::MAX.to_le_bytes()[..]), Err(FrameError::TooLong(_))));
    }
}
