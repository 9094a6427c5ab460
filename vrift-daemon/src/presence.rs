//! Noticing at once that what a daemon cannot do without is gone: its socket, its project's folder.
//!
//! Nobody can reach a daemon whose socket was removed, and as long as it lives nobody takes its place. Its main thread looks around
//! every few seconds; here the kernel says when it should look now (inotify(7)). What the kernel does not tell (a folder further
//! up was renamed, no watch to be had) is seen at the next look.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::process::inode;
use crate::stop::Stop;

/// Stack of the thread, which does next to nothing.
const STACK: usize = 64 << 10;

/// Wakes the main thread, which waits on `stop`, once the file `socket` or the folder `root` is not what it is now.
pub fn watch(stop: &Arc<Stop>, socket: &Path, root: Option<&Path>) {
    let Ok(inotify) = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) else { return };
    let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ONLYDIR;
    if let Some(folder) = socket.parent() {
        let _ = inotify
            .add_watch(folder, gone | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_MOVED_TO);
    }
    if let Some(root) = root {
        let _ = inotify.add_watch(root, gone);
    }
    let own: Vec<(PathBuf, _)> = [Some(socket), root].into_iter().flatten().map(|path| (path.to_owned(), inode(path))).collect();
    let stop = Arc::clone(stop);
    let waiting = move || {
        while is_notified(&inotify) {
            if own.iter().any(|(path, was)| inode(path) != *was) {
                stop.look_around();
                return;
            }
        }
    };
    // Without the thread, the next look sees it.
    let _ = thread::Builder::new().name("presence".to_owned()).stack_size(STACK).spawn(waiting);
}

/// Waits for notices and takes them; false where that is not possible any more.
fn is_notified(inotify: &Inotify) -> bool {
    match poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(_) => return false,
    }
    matches!(inotify.read_events(), Ok(_) | Err(Errno::EAGAIN | Errno::EINTR))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn notices(act: impl FnOnce(&Path)) {
        let dir = tempfile::tempdir().expect("a folder");
        let (socket, root) = (dir.path().join("run/s"), dir.path().join("root"));
        std::fs::create_dir(dir.path().join("run")).expect("creates");
        std::fs::create_dir(&root).expect("creates");
        std::fs::write(&socket, "").expect("writes");
        let stop = Arc::new(Stop::default());
        watch(&stop, &socket, Some(&root));
        // Others' files come and go there.
        std::fs::write(dir.path().join("run/other"), "").expect("writes");
        std::fs::remove_file(dir.path().join("run/other")).expect("removes");
        let quiet = Instant::now();
        assert!(!stop.wait(Duration::from_millis(50)));
        assert!(quiet.elapsed() >= Duration::from_millis(50), "woken by another's file");
        act(dir.path());
        let began = Instant::now();
        assert!(!stop.wait(LONG), "nobody asked it to end");
        assert!(began.elapsed() < LONG, "not noticed");
    }

    #[test]
    fn a_socket_that_is_removed() {
        notices(|dir| std::fs::remove_file(dir.join("run/s")).expect("removes"));
    }

    #[test]
    fn a_socket_that_another_replaces() {
        notices(|dir| {
            std::fs::write(dir.join("run/t"), "").expect("writes");
            std::fs::rename(dir.join("run/t"), dir.join("run/s")).expect("renames");
        });
    }

    #[test]
    fn the_folder_of_sockets_is_moved() {
        notices(|dir| std::fs::rename(dir.join("run"), dir.join("away")).expect("renames"));
    }

    #[test]
    fn a_project_that_is_removed() {
        notices(|dir| std::fs::remove_dir(dir.join("root")).expect("removes"));
    }
}
