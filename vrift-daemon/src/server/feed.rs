//! A connection without a daemon behind it: whatever a client could send is read and answered as a daemon does, but methods do
//! no more than to parse their parameters. For fuzzing, and for tests of what daemons make of nonsense.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;
use vrift_core::wire::{
    AbandonParams, BuildOpenParams, ConfirmParams, FilesParams, GcParams, HelloParams, InsertParams, LeaseParams, LookupParams,
    ProjectOpenParams, RecordParams, RpcError, SessionParams, ShutdownParams, TouchParams, WhyParams, method,
};

use super::Service;
use super::incoming::Incoming;
use super::rpc::{self, Call};

/// Bytes that fit into a socket's buffer on every Linux; the rest is left out.
const MOST: usize = 100 << 10;

/// Reads `bytes` as those of one connection, up to the first that are no frame. Returns the answers.
///
/// # Errors
/// The kernel gives no sockets.
pub fn feed(bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let (mut client, server) = UnixStream::pair()?;
    client.write_all(&bytes[..bytes.len().min(MOST)])?;
    client.shutdown(Shutdown::Write)?;
    let mut incoming = Incoming::new(&server)?;
    let mut answers = Vec::new();
    while let Ok(Some(json)) = incoming.next(|| false, || false) {
        answers.extend(rpc::dispatch(&Parser, &mut (), json, |_| ()));
    }
    Ok(answers)
}

/// Parses and says back what it understood.
struct Parser;

impl Service for Parser {
    type Session = ();

    fn open(&self, _: i32) {}

    fn call(&self, (): &mut (), call: &Call<'_>) -> Result<Vec<u8>, RpcError> {
        match call.method {
            method::HELLO => echo::<HelloParams>(call),
            method::SHUTDOWN => echo::<ShutdownParams>(call),
            method::PROJECT_OPEN => echo::<ProjectOpenParams>(call),
            method::LEASE_ACQUIRE | method::LEASE_RELEASE => echo::<LeaseParams>(call),
            method::ACTION_INSERT => echo::<InsertParams>(call),
            method::ACTION_TOUCH => echo::<TouchParams>(call),
            method::FILES_INSERT => echo::<FilesParams>(call),
            method::GC => echo::<GcParams>(call),
            method::ACTION_LOOKUP => echo::<LookupParams>(call),
            method::ACTION_CONFIRM => echo::<ConfirmParams>(call),
            method::ACTION_RECORD => echo::<RecordParams>(call),
            method::ACTION_ABANDON => echo::<AbandonParams>(call),
            method::BUILD_OPEN => echo::<BuildOpenParams>(call),
            method::BUILD_KEEP | method::SESSION_SUMMARY => echo::<SessionParams>(call),
            method::WHY => echo::<WhyParams>(call),
            _ => Err(call.unknown()),
        }
    }

    fn closed(&self, (): ()) {}
}

fn echo<P: DeserializeOwned + Serialize>(call: &Call<'_>) -> Result<Vec<u8>, RpcError> {
    call.reply(&call.params::<P>()?)
}
