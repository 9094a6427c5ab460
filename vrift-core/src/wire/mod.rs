//! What travels over the sockets: JSON-RPC 2.0, one frame a message. docs/protocol.md describes every method.

mod actions;
mod beat;
mod builds;
mod frame;
mod methods;
mod rpc;
mod socket;
mod status;

pub use actions::*;
pub use beat::{BEAT, SILENCE, WorkingParams, beat, read_answer};
pub use builds::{BuildFile, BuildOpenParams, BuildOpenResult, BuildUnit};
pub use frame::{FRAME_HEADER, FrameError, MAX_FRAME, decode, decode_len, encode, read_frame, write_frame};
pub use methods::*;
pub use rpc::{Reply, Request, RpcError, code};
pub use socket::{bind, connect};
pub use status::*;
