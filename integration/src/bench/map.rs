//! Maps made up on the spot, to measure reading them without anything around: no shim, no keeper.

use std::hint::black_box;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use vrift_core::vdir::layout::{flag, state};
use vrift_core::vdir::ring::Ring;
use vrift_core::vdir::{Answer, Capacity, EntryData, Identity, Mem, Reader, Stat, Writer};

use super::median;
use crate::Result;

/// `POLLIN` of poll(2).
const POLLIN: i16 = 1;

/// Files of a folder.
const IN_FOLDER: u32 = 1000;

/// A map that is served.
pub struct Map {
    writer: Writer,
    /// What readers read.
    pub reader: Reader,
    entries: u32,
    _ring: Ring,
    _pipe: (PipeReader, PipeWriter),
    _dir: tempfile::TempDir,
}

impl Map {
    /// One of so many files, in folders of a thousand.
    ///
    /// # Errors
    /// There is no room for it, or the kernel has no ring.
    pub fn of(entries: u32) -> Result<Self> {
        let dir = tempfile::tempdir_in("/dev/shm")?;
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(dir.path().join("vdir"))?;
        let identity =
            Identity { project: 1, generation: 1, namespaces: [0; 2], uid: 0, key: [3, 4], root: b"/work/project".to_vec() };
        let capacity = Capacity { names: u64::from(entries) * 32 + 4096, ..Capacity::of(entries + entries / IN_FOLDER + 4) };
        let mut writer = Writer::create(&file, capacity, &identity)?;
        let pipe = std::io::pipe()?;
        let ring = Ring::new(writer.map(), &[(pipe.0.as_fd(), POLLIN)]).context("no ring")?;
        for folder in ["".to_owned(), "packages".to_owned()].into_iter().chain((0..entries.div_ceil(IN_FOLDER)).map(folder)) {
            writer.set_entry(folder.as_bytes(), &EntryData { flags: flag::DIR | flag::LISTED, ino: 1, stat: None })?;
        }
        for n in 0..entries {
            writer.set_entry(path(n).as_bytes(), &entry(n))?;
        }
        writer.seal(ring.offsets());
        writer.set_valid_until(2);
        writer.set_state(state::SERVING);
        writer.end();
        let len = file.metadata()?.len();
        let map = Mem::new(file.as_raw_fd(), usize::try_from(len)?, false).context("cannot map")?;
        let reader = Reader::new(map, None, len).map_err(|why| anyhow::anyhow!("{why:?}"))?;
        Ok(Self { writer, reader, entries, _ring: ring, _pipe: pipe, _dir: dir })
    }

    /// Bytes of the file for each entry, without the room for names.
    pub fn bytes_per_entry(&self) -> f64 {
        let capacity = self.writer.capacity();
        (capacity.file_len() - capacity.names) as f64 / f64::from(capacity.entries)
    }

    /// `count` of its paths: the first ones, or any of them.
    pub fn paths(&self, count: u32, any: bool) -> Vec<String> {
        let mut dice = 1_u64;
        let mut number = |n: u32| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if any { ((dice >> 33) % u64::from(self.entries)) as u32 } else { n % self.entries }
        };
        (0..count).map(|n| path(number(n))).collect()
    }

    /// What a look takes, and how many of the looks gave no answer: the map was being written.
    ///
    /// # Errors
    /// An answer is wrong.
    pub fn look(&self, paths: &[String], rounds: usize) -> Result<(Duration, f64)> {
        look(&self.reader, paths, rounds)
    }

    /// The same while another thread makes so many changes a second, in phases like the keeper's: five hundred a second.
    ///
    /// # Errors
    /// An answer is wrong, or there were fewer changes.
    pub fn look_while_written(&mut self, paths: &[String], rounds: usize, a_second: u32) -> Result<(Duration, f64)> {
        /// Between two phases, as the keeper has it.
        const PAUSE: Duration = Duration::from_millis(2);
        let (stop, reader, writer, entries) = (AtomicBool::new(false), &self.reader, &mut self.writer, self.entries);
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let (began, mut done) = (Instant::now(), 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    let wanted = (began.elapsed().as_secs_f64() * f64::from(a_second)) as u64;
                    writer.begin();
                    while done < wanted {
                        let number = (done * 7919 % u64::from(entries)) as u32;
                        if writer.set_entry(path(number).as_bytes(), &entry(number)).is_err() {
                            return 0.0;
                        }
                        done += 1;
                    }
                    writer.end();
                    std::thread::sleep(PAUSE);
                }
                done as f64 / began.elapsed().as_secs_f64()
            });
            let result = look(reader, paths, rounds);
            stop.store(true, Ordering::Relaxed);
            let rate = writing.join().unwrap_or(0.0);
            ensure!(rate > 0.8 * f64::from(a_second), "only {rate:.0} changes a second");
            result
        })
    }
}

fn look(reader: &Reader, paths: &[String], rounds: usize) -> Result<(Duration, f64)> {
    let (mut times, mut unknown) = (Vec::new(), 0_usize);
    for _ in 0..rounds {
        let began = Instant::now();
        for path in paths {
            match black_box(reader.look(path.as_bytes(), 1)) {
                Answer::Found(_) => {}
                Answer::Unknown => unknown += 1,
                Answer::Fails(error) => anyhow::bail!("{path}: {error}"),
            }
        }
        times.push(began.elapsed() / u32::try_from(paths.len())?);
    }
    Ok((median(times), unknown as f64 / (rounds * paths.len()) as f64))
}

fn folder(n: u32) -> String {
    format!("packages/library-{n:04}")
}

fn path(n: u32) -> String {
    format!("{}/module-{:03}.rs", folder(n / IN_FOLDER), n % IN_FOLDER)
}

fn entry(n: u32) -> EntryData {
    let stat = Stat { dev: 9, mode: 0o100_644, nlink: 1, size: n.into(), times: [n.into(); 4], ..Stat::default() };
    EntryData { flags: flag::FILE | flag::STAT, ino: n.into(), stat: Some(stat) }
}
