use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::layout::{self, flag, state};
use super::ring::Ring;
use super::{Answer, Capacity, EntryData, Identity, Mem, Reader, Refused, Stat, Writer};

fn shared_file() -> (tempfile::TempDir, File) {
    let dir = tempfile::tempdir_in("/dev/shm").expect("tempdir");
    let file = File::options().read(true).write(true).create_new(true).open(dir.path().join("vdir")).expect("creates");
    (dir, file)
}

const NOW: u64 = 1_000;

fn identity() -> Identity {
    Identity { project: 1, generation: 2, namespaces: [3, 4], uid: 5, key: [6, 7], root: b"/work/project".to_vec() }
}

fn stat(n: u64) -> EntryData {
    let stat = Stat { dev: 9, mode: 0o100_644, nlink: 1, size: n, times: [n as i64; 4], blocks: n as u32, ..Stat::default() };
    EntryData { flags: flag::FILE | flag::STAT, ino: n, stat: Some(stat) }
}

const DIR: EntryData = EntryData { flags: flag::DIR | flag::LISTED, ino: 1, stat: None };

struct Served {
    _dir: tempfile::TempDir,
    file: File,
    writer: Writer,
    ring: Ring,
    _poll: std::io::PipeReader,
    pipe: std::io::PipeWriter,
}

/// A served VDir whose ring polls a pipe.
fn served(entries: u32) -> Served {
    let (dir, file) = shared_file();
    let mut writer = Writer::create(&file, Capacity::of(entries), &identity()).expect("creates");
    let (poll, pipe) = std::io::pipe().expect("pipe");
    let ring = Ring::new(writer.map(), &[(poll.as_fd(), libc::POLLIN)]).expect("this kernel has io_uring");
    writer.set_entry(b"", &DIR).expect("room");
    writer.seal(ring.offsets());
    writer.set_valid_until(NOW + 1);
    writer.set_state(state::SERVING);
    writer.end();
    Served { _dir: dir, file, writer, ring, _poll: poll, pipe }
}

fn reader(file: &File) -> Result<Reader, Refused> {
    let len = file.metadata().expect("there").len();
    let map = Mem::new(file.as_raw_fd(), len as usize, false).expect("maps");
    Reader::new(map, None, len)
}

fn phase(served: &mut Served, work: impl FnOnce(&mut Writer)) {
    served.writer.begin();
    work(&mut served.writer);
    served.writer.end();
}

#[test]
fn entries_come_back_whole() {
    let mut served = served(1000);
    phase(&mut served, |writer| {
        writer.set_entry(b"src", &DIR).expect("room");
        for n in 0..500 {
            writer.set_entry(format!("src/file-{n}.rs").as_bytes(), &stat(n)).expect("room");
        }
    });
    let reader = reader(&served.file).expect("sound");
    assert_eq!(reader.root(), b"/work/project");
    for n in 0..500 {
        let Answer::Found(found) = reader.look(format!("src/file-{n}.rs").as_bytes(), NOW) else { panic!("{n}") };
        assert_eq!((found.ino, found.size, found.times, found.mode, found.dev), (n, n, [n as i64; 4], 0o100_644, 9));
    }
    assert_eq!(reader.look(b"src/none", NOW), Answer::Fails(libc::ENOENT));
    assert_eq!(reader.look(b"none/deep/er", NOW), Answer::Fails(libc::ENOENT));
    assert_eq!(reader.look(b"src/file-1.rs/x/y", NOW), Answer::Fails(libc::ENOTDIR));
    assert_eq!(reader.look(b"src", NOW + 1), Answer::Unknown, "no longer valid");
}

#[test]
fn what_is_removed_is_gone_and_its_place_is_used_again() {
    let mut served = served(64);
    for round in 0..200_u64 {
        phase(&mut served, |writer| {
            for n in 0..50 {
                writer.set_entry(format!("{round}-{n}-name").as_bytes(), &stat(n)).expect("there is room again");
            }
        });
        let reader = reader(&served.file).expect("sound");
        assert!(matches!(reader.look(format!("{round}-7-name").as_bytes(), NOW), Answer::Found(_)));
        phase(&mut served, |writer| {
            for n in 0..50 {
                writer.remove(format!("{round}-{n}-name").as_bytes()).expect("was there");
            }
        });
        assert_eq!(reader.look(format!("{round}-7-name").as_bytes(), NOW), Answer::Fails(libc::ENOENT));
        assert_eq!(served.writer.live(), 1);
    }
    let full = (0..100).find(|n| served.writer.set_entry(format!("{n}").as_bytes(), &DIR).is_err());
    assert_eq!(full, Some(63), "the root has one");
}

#[test]
fn links_listings_and_digests() {
    let mut served = served(100);
    let names = ["b", "a", "a-much-longer-name-than-the-others.txt"];
    phase(&mut served, |writer| {
        let link = EntryData { flags: flag::LINK | flag::STAT, stat: Some(Stat { size: 7, ..Stat::default() }), ino: 8 };
        let link = writer.set_entry(b"link", &link).expect("room");
        writer.set_target(link, b"../else").expect("room");
        let folder = writer.set_entry(b"d", &DIR).expect("room");
        let numbers: Vec<u32> =
            names.iter().map(|n| writer.set_entry(format!("d/{n}").as_bytes(), &stat(3)).expect("room")).collect();
        writer.set_order(folder, &numbers);
        writer.set_digest(numbers[1], &[0xab; 32]).expect("room");
    });
    let reader = reader(&served.file).expect("sound");
    let found = |path: &str| match reader.look(path.as_bytes(), NOW) {
        Answer::Found(found) => found,
        other => panic!("{path}: {other:?}"),
    };
    let mut room = [0; 300];
    assert_eq!(reader.target(&found("link"), &mut room, NOW), Some(&b"../else"[..]));
    assert_eq!(reader.look(b"link/x", NOW), Answer::Unknown, "the kernel follows links");
    assert_eq!((reader.digest(&found("d/a"), NOW), reader.digest(&found("d/b"), NOW)), (Some([0xab; 32]), None));
    let mut listed = reader.names(&found("d"), NOW).expect("ordered");
    for name in names {
        let next = listed.next(&mut room).expect("holds").expect("one more");
        assert_eq!(&room[..next.len], name.as_bytes());
    }
    assert_eq!((listed.next(&mut room), listed.hold()), (Ok(None), true));
    assert!(reader.names(&found(""), NOW).is_none(), "its order is not known");
    let mut listed = reader.names(&found("d"), NOW).expect("ordered");
    phase(&mut served, |writer| writer.turn());
    assert!(!listed.hold() && (0..4).any(|_| listed.next(&mut room).is_err()));
}

#[test]
fn a_notice_that_waits_silences_the_map_until_it_is_taken() {
    use std::io::{Read, Write};
    let mut served = served(10);
    let reader = reader(&served.file).expect("sound");
    let is_there = |reader: &Reader| matches!(reader.look(b"", NOW), Answer::Found(_));
    for _ in 0..100 {
        assert!(is_there(&reader));
        served.pipe.write_all(b"x").expect("writes");
        assert!(!is_there(&reader), "as soon as the write has returned");
        served.writer.begin();
        served.ring.collect(served.writer.map()).expect("works");
        served._poll.read_exact(&mut [0]).expect("reads");
        assert!(!is_there(&reader), "a phase is under way");
        served.ring.release(served.writer.map()).expect("works");
        served.writer.end();
    }
    assert!(is_there(&reader));
    drop(served.ring);
    let gone = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        !is_there(&reader)
    });
    assert!(gone, "without its ring the map says nothing");
}

#[test]
fn damage_is_never_an_answer() {
    let mut served = served(40);
    phase(&mut served, |writer| {
        writer.set_entry(b"d", &DIR).expect("room");
        for n in 0..20 {
            writer.set_entry(format!("d/{n}").as_bytes(), &stat(n)).expect("room");
        }
    });
    let sound = reader(&served.file).expect("sound");
    let paths: Vec<String> = (0..25).map(|n| format!("d/{n}")).collect();
    let answers: Vec<_> = paths.iter().map(|path| sound.look(path.as_bytes(), NOW)).collect();
    let len = served.file.metadata().expect("there").len();
    let writable = Mem::new(served.file.as_raw_fd(), len as usize, true).expect("maps");
    let mut refused = 0;
    // Every word behind the ring, and of the header all that is read by this reader or the next.
    let offsets = (0..layout::VALID_UNTIL).step_by(8).chain((layout::REGIONS..len as usize).step_by(8));
    for (n, offset) in offsets.enumerate() {
        let word = writable.u64(offset).expect("inside");
        let before = word.load(Ordering::Relaxed);
        word.store(before ^ 1 << (n % 64), Ordering::Relaxed);
        let fresh = reader(&served.file).inspect_err(|_| refused += 1).ok();
        for reader in fresh.iter().chain([&sound]) {
            for (path, was) in paths.iter().zip(&answers) {
                let now = reader.look(path.as_bytes(), NOW);
                assert!(now == *was || now == Answer::Unknown, "bit {} at {offset}: {path} {now:?}", n % 64);
            }
        }
        word.store(before, Ordering::Relaxed);
    }
    assert!(refused >= (layout::IMMUTABLE_END - layout::FILE_LEN) / 8, "{refused}");
    assert_eq!(
        Mem::new(served.file.as_raw_fd(), 8192, false).map(|map| Reader::new(map, None, 8192).err()),
        Some(Some(Refused::Damaged))
    );
}

#[test]
fn readers_see_no_half_written_entry() {
    let mut served = served(10);
    let stop = AtomicBool::new(false);
    let reader = reader(&served.file).expect("sound");
    let put = |writer: &mut Writer, n| assert!(writer.set_entry(b"x", &stat(n)).is_ok());
    phase(&mut served, |writer| put(writer, 0));
    std::thread::scope(|scope| {
        let checks: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        match reader.look(b"x", NOW) {
                            Answer::Found(found) => {
                                assert_eq!(
                                    (found.ino, found.size, found.times),
                                    (found.size, found.blocks.into(), [found.size as i64; 4])
                                );
                                seen += 1;
                            }
                            Answer::Unknown => {}
                            Answer::Fails(e) => panic!("{e}"),
                        }
                    }
                    seen
                })
            })
            .collect();
        for n in 0..200_000 {
            phase(&mut served, |writer| put(writer, n));
        }
        stop.store(true, Ordering::Relaxed);
        assert!(checks.into_iter().map(|check| check.join().expect("no half entry")).sum::<u64>() > 0);
    });
}
