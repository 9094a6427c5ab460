//! How long processes live, by the kernel's own clock and without stopping them.
//!
//! The process events connector (Documentation/driver-api/connector.rst, `linux/cn_proc.h`) tells root of each exec and each
//! end. `strace` stops a process a few times, which costs as much again as a short one does itself.

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::net::netlink::{CONNECTOR, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, bind, recv, send, socket, sockopt};

use crate::Result;

/// `CN_IDX_PROC` and `CN_VAL_PROC`.
const PROC: u32 = 1;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// `PROC_EVENT_EXEC`.
const EXEC: u32 = 2;
/// `PROC_EVENT_EXIT`.
const EXIT: u32 = 0x8000_0000;
/// Where the event begins: behind a netlink header (16 bytes) and a connector header (20).
const EVENT: usize = 36;

/// One process's life from an exec to its end.
pub struct Life {
    /// The program.
    pub program: PathBuf,
    /// From the end of the exec to the end of the process.
    pub time: Duration,
}

/// Runs `work`, and gives the lives of all processes that began and ended meanwhile, anywhere on the machine.
///
/// # Errors
/// Where the kernel does not tell this user, or what `work` gives.
pub fn watch(work: impl FnOnce() -> Result) -> Result<Vec<Life>> {
    let socket = listen().context("process events are for root, on a kernel with CONFIG_PROC_EVENTS")?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| collect(&socket, &done));
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let lives = watcher.join().ok().context("the watcher panicked")?;
        worked?;
        lives
    })
}

fn listen() -> Result<OwnedFd> {
    let socket = socket(AddressFamily::NETLINK, SocketType::DGRAM, Some(CONNECTOR))?;
    bind(&socket, &SocketAddrNetlink::new(0, PROC))?;
    sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_millis(200)))?;
    let mut message = Vec::new();
    message.extend(40_u32.to_ne_bytes());
    message.extend([DONE, 0].map(u16::to_ne_bytes).concat());
    message.extend([0, 0, PROC, PROC, 0, 0].map(u32::to_ne_bytes).concat());
    message.extend([4_u16, 0].map(u16::to_ne_bytes).concat());
    message.extend(LISTEN.to_ne_bytes());
    send(&socket, &message, SendFlags::empty())?;
    Ok(socket)
}

fn collect(socket: &OwnedFd, done: &AtomicBool) -> Result<Vec<Life>> {
    let (mut running, mut lives) = (HashMap::new(), Vec::new());
    let mut buffer = [0; 4096];
    loop {
        let len = match recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((len, _)) => len,
            Err(rustix::io::Errno::AGAIN) if done.load(Ordering::Relaxed) => return Ok(lives),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e).context("process events were lost"),
        };
        let event = buffer.get(EVENT..len).unwrap_or_default();
        let number = |at: usize| event.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let (Some(what), Some(process), Some(group)) = (number(0), number(16), number(20)) else { continue };
        let Some(time) = event.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes) else { continue };
        // Of a thread: only its process counts.
        if process != group {
            continue;
        }
        if what == EXEC {
            ensure!(running.len() < 1_000_000, "too many processes");
            if let Ok(program) = fs::read_link(format!("/proc/{process}/exe")) {
                running.insert(process, (time, program));
            }
        } else if what == EXIT
            && let Some((began, program)) = running.remove(&process)
        {
            lives.push(Life { program, time: Duration::from_nanos(time.saturating_sub(began)) });
        }
    }
}
