//! A writer that is killed in the middle of a record. In a process of its own: the test forks.

use std::os::fd::AsRawFd;

use vrift_core::arena::{ArenaFile, SharedMap, Writer, read_trace};
use vrift_core::event::EventKind;

fn writer(arena: &ArenaFile) -> Writer {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(arena.path()).expect("opens by its path");
    let map = SharedMap::new(file.as_raw_fd(), arena.map().len()).expect("maps");
    Writer::new(map).expect("sound header")
}

/// Children are killed at random moments while they append; whatever they leave, the rest can be read and appended to.
#[test]
fn a_killed_writer_costs_its_own_record_alone() {
    for round in 0..20_u64 {
        let arena = ArenaFile::create(16 << 20).expect("creates");
        let writer = writer(&arena);
        // SAFETY: the child only appends, which is async-signal-safe, until it is killed.
        let child = unsafe { libc::fork() };
        if child == 0 {
            loop {
                writer.append(1, EventKind::Stat, 0, 0, 0, &[b"/from/the/child"]);
            }
        }
        std::thread::sleep(std::time::Duration::from_micros(200 + 137 * round));
        // SAFETY: signals and reaps a child of this test.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        let before = read_trace(arena.map()).expect("reads");
        assert!(before.torn <= 1);
        if !before.overflow {
            assert!(writer.append(2, EventKind::Stat, 0, 0, 0, &[b"/after"]));
            let after = read_trace(arena.map()).expect("reads");
            assert_eq!(after.events.len(), before.events.len() + 1);
            assert_eq!(after.events.last().map(|e| e.pid), Some(2));
        }
    }
}
