//! Signs of life on a connection whose request takes long: see [`vrift_core::wire::beat`].
//!
//! They come from the thread that does the work, out of the work itself: a thread that only sends them would go on saying that
//! all is well while the work hangs. Whatever may take long calls [`beat`] as often as it likes.
//!
//! # Performance
//! Where nothing is due, a look at a clock. A client that does not take them holds nobody up: what does not fit into its
//! socket is left out.

use std::cell::RefCell;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use vrift_core::wire;

thread_local! {
    /// What this thread works on.
    static PULSE: RefCell<Option<Pulse>> = const { RefCell::new(None) };
}

struct Pulse {
    stream: Rc<UnixStream>,
    id: u64,
    last: Instant,
}

/// This thread works on a request as long as this lives.
pub struct Working(());

/// This thread works on request `id` of a connection.
pub fn working(stream: &Rc<UnixStream>, id: u64) -> Working {
    PULSE.set(Some(Pulse { stream: Rc::clone(stream), id, last: Instant::now() }));
    Working(())
}

impl Drop for Working {
    fn drop(&mut self) {
        PULSE.set(None);
    }
}

/// Tells the client, if one waits for this thread, that the work goes on; not more often than it wants to hear that.
pub fn beat() {
    PULSE.with_borrow_mut(|pulse| {
        if let Some(pulse) = pulse
            && pulse.last.elapsed() >= wire::BEAT
        {
            pulse.last = Instant::now();
            pulse.send();
        }
    });
}

impl Pulse {
    fn send(&self) {
        let Ok(frame) = wire::beat(self.id) else { return };
        let sent = send(self.stream.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        match sent {
            Ok(sent) if sent == frame.len() => {}
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // A part of a frame, or nobody there: nothing that follows would be understood.
            Ok(_) | Err(_) => {
                let _ = self.stream.shutdown(Shutdown::Both);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_client_hears_of_long_work_and_of_nothing_else() {
        let (mut client, server) = UnixStream::pair().expect("pair");
        client.set_read_timeout(Some(Duration::from_millis(20))).expect("sets");
        let server = Rc::new(server);
        beat();
        let work = working(&server, 3);
        beat();
        assert!(client.read(&mut [0]).is_err(), "it has just begun");
        std::thread::sleep(wire::BEAT);
        beat();
        beat();
        let said = wire::read_frame(&mut client).expect("a beat");
        assert!(String::from_utf8_lossy(&said).contains("\"id\":3"));
        assert!(client.read(&mut [0]).is_err(), "one is enough");
        drop(work);
        std::thread::sleep(wire::BEAT);
        beat();
        assert!(client.read(&mut [0]).is_err(), "nobody waits");
    }

    #[test]
    fn a_client_that_takes_nothing_holds_nobody_up() {
        let (_client, server) = UnixStream::pair().expect("pair");
        let server = Rc::new(server);
        let full = [0; 64 << 10];
        while send(server.as_raw_fd(), &full, MsgFlags::MSG_DONTWAIT).is_ok() {}
        let _work = working(&server, 1);
        std::thread::sleep(wire::BEAT);
        let began = Instant::now();
        beat();
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}
