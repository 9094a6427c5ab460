//! Faults of what is stored: the databases, the blobs, the store as a whole, the VDir.

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use fastrand::Rng;
use nix::sys::signal::Signal;

use super::processes::Role;
use super::scene::{Scene, Site};
use crate::Result;

type Happened = Result<Option<String>>;

/// SQLite's pages, as vrift has them.
const PAGE: u64 = 4096;

pub fn base(scene: &mut Scene, rng: &mut Rng) -> Happened {
    database(&scene.home.join("manifest.db"), rng)
}

pub fn base_asleep(scene: &mut Scene, rng: &mut Rng) -> Happened {
    end_daemons(scene, rng);
    base(scene, rng)
}

pub fn delta(scene: &mut Scene, rng: &mut Rng) -> Happened {
    match rng.choice(&scene.sites) {
        Some(site) => database(&site.dir.join(".vrift/manifest.db"), rng),
        None => Ok(None),
    }
}

pub fn delta_asleep(scene: &mut Scene, rng: &mut Rng) -> Happened {
    end_daemons(scene, rng);
    delta(scene, rng)
}

/// Ends them in order, so that databases are whole, or at once, so that their logs are left.
fn end_daemons(scene: &Scene, rng: &mut Rng) {
    let signal = if rng.bool() { Signal::SIGTERM } else { Signal::SIGKILL };
    let all = [scene.with_role(Role::Coordinator), scene.with_role(Role::Worker)].concat();
    all.iter().for_each(|daemon| {
        daemon.signal(signal);
    });
    let alive = || all.iter().any(|daemon| crate::daemons::is_alive(daemon.pid));
    for _ in 0..1000 {
        if !alive() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Damages a SQLite database in one of many ways.
fn database(path: &Path, rng: &mut Rng) -> Happened {
    let Ok(meta) = fs::metadata(path) else { return Ok(None) };
    let len = meta.len();
    let side = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let what = match rng.u32(..10) {
        0 => {
            overwrite(path, 0, &garbage(rng, 100))?;
            "header".to_owned()
        }
        1 => {
            let at = rng.u64(..100);
            overwrite(path, at, &garbage(rng, 1))?;
            format!("byte {at} of the header")
        }
        2 | 3 if len > 2 * PAGE => {
            let page = rng.u64(1..len / PAGE);
            overwrite(path, page * PAGE, &garbage(rng, PAGE as usize))?;
            format!("page {page} of {}", len / PAGE)
        }
        4 if len > PAGE => {
            let count = rng.u32(1..40);
            for _ in 0..count {
                overwrite(path, rng.u64(PAGE..len), &garbage(rng, 1))?;
            }
            format!("{count} bytes")
        }
        5 => {
            let to = rng.u64(..=len);
            OpenOptions::new().write(true).open(path)?.set_len(to)?;
            format!("cut to {to} of {len} bytes")
        }
        6 => {
            fs::remove_file(path)?;
            "deleted".to_owned()
        }
        7 => {
            if fs::remove_file(side("-wal")).is_err() {
                return Ok(None);
            }
            "its log deleted".to_owned()
        }
        8 => {
            let wal = side("-wal");
            let Ok(len) = fs::metadata(&wal).map(|meta| meta.len()) else { return Ok(None) };
            if len == 0 {
                return Ok(None);
            }
            overwrite(&wal, rng.u64(..len), &garbage(rng, 64))?;
            "its log damaged".to_owned()
        }
        _ => {
            for suffix in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(side(suffix));
            }
            "deleted with all that belongs to it".to_owned()
        }
    };
    let folder = path.parent().and_then(Path::parent).and_then(Path::file_name).unwrap_or_default();
    Ok(Some(format!("{}: {what}", folder.display())))
}

fn garbage(rng: &mut Rng, len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) -> Result {
    let file = OpenOptions::new().write(true).open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    Ok(file.write_all_at(bytes, at)?)
}

/// A few blobs of the store; a folder's worth at times.
fn some_blobs(scene: &Scene, rng: &mut Rng) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(scene.store().join("blake3")).into_iter().flatten();
    let mut all: Vec<_> = files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect();
    all.sort();
    rng.shuffle(&mut all);
    all.truncate(if rng.u32(..5) == 0 { 40 } else { rng.usize(1..6) });
    all
}

/// Does something to blobs. One that goes meanwhile is no failure: garbage collection may run, or vrift found it first.
fn to_blobs(scene: &Scene, rng: &mut Rng, act: impl Fn(&Path, &mut Rng) -> std::io::Result<()>) -> Happened {
    let blobs = some_blobs(scene, rng);
    let done = blobs.iter().filter(|blob| act(blob, rng).is_ok()).count();
    Ok((done > 0).then(|| format!("{done} of them")))
}

/// Other content under the same name and size. Other names of the file stay what they were, unless it has none.
pub fn blobs(scene: &mut Scene, rng: &mut Rng) -> Happened {
    to_blobs(scene, rng, |blob, rng| {
        let meta = fs::metadata(blob)?;
        let mut content = fs::read(blob)?;
        if content.is_empty() {
            return Ok(());
        }
        let at = rng.usize(..content.len());
        content[at] ^= rng.u8(1..);
        if meta.nlink() == 1 && rng.bool() {
            // Root may; and the modification time tells.
            return OpenOptions::new().write(true).open(blob)?.write_all_at(&content[at..=at], at as u64);
        }
        replace(blob, &content, meta.mode())
    })
}

/// Shorter than their name says, with the time that they had.
pub fn cut_blobs(scene: &mut Scene, rng: &mut Rng) -> Happened {
    to_blobs(scene, rng, |blob, rng| {
        let meta = fs::metadata(blob)?;
        let content = fs::read(blob)?;
        if content.is_empty() {
            return Ok(());
        }
        replace(blob, &content[..rng.usize(..content.len())], meta.mode())?;
        File::open(blob)?.set_times(FileTimes::new().set_modified(meta.modified()?))
    })
}

pub fn delete_blobs(scene: &mut Scene, rng: &mut Rng) -> Happened {
    to_blobs(scene, rng, |blob, _| fs::remove_file(blob))
}

/// As by a clock that was wrong: in the future, or long ago.
pub fn date_blobs(scene: &mut Scene, rng: &mut Rng) -> Happened {
    to_blobs(scene, rng, |blob, rng| {
        let time = if rng.bool() { SystemTime::now() + Duration::from_secs(86_400) } else { UNIX_EPOCH };
        // A copy: files of checkouts keep their times.
        let meta = fs::metadata(blob)?;
        replace(blob, &fs::read(blob)?, meta.mode())?;
        File::open(blob)?.set_times(FileTimes::new().set_modified(time))
    })
}

fn replace(blob: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let temp = blob.with_extension("chaos");
    fs::write(&temp, content)?;
    fs::set_permissions(&temp, Permissions::from_mode(mode & 0o7777))?;
    fs::rename(&temp, blob)
}

/// The store's folder, or a part of it, is gone.
pub fn store(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let part = ["", "blake3", "tmp", "quarantine", "spare"][rng.usize(..5)];
    let dir = scene.store().join(part);
    // In one step, as by `mv`: files that come in meanwhile are lost with it.
    let away = scene.env.join("out").join(format!("gone-{}", rng.u64(..)));
    if fs::rename(&dir, &away).is_err() {
        return Ok(None);
    }
    fs::remove_dir_all(&away)?;
    Ok(Some(dir.display().to_string()))
}

/// Damages the VDir of a project that is built, or that of shared trees, where there is one. Its file is found by its name alone: whatever is in it,
/// no reader may believe it.
pub fn vdir(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let mut files: Vec<PathBuf> = scene.sites.iter().filter_map(|site| vdir_of(site).transpose()).collect::<Result<_>>()?;
    let shared = vrift_core::vdir::base_place(&scene.home, nix::unistd::geteuid().as_raw());
    files.extend(shared.is_file().then_some(shared));
    let Some(path) = rng.choice(&files) else { return Ok(None) };
    let len = fs::metadata(path)?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let what = match rng.u32(..6) {
        0 => {
            overwrite(path, rng.u64(..256), &garbage(rng, 8))?;
            "header"
        }
        1 => {
            // Cut, it would kill its readers: the kernel sends SIGBUS. So it is emptied, length and all else kept.
            overwrite(path, 0, &vec![0; usize::try_from(len.min(64 << 20))?])?;
            "zeroed"
        }
        2 => {
            fs::remove_file(path)?;
            "deleted"
        }
        _ => {
            for _ in 0..rng.u32(1..64) {
                overwrite(path, rng.u64(..len.max(1)), &garbage(rng, 1))?;
            }
            "bytes"
        }
    };
    Ok(Some(format!("{name}: {what}")))
}

/// The VDir's file of a checkout's project, if there is one.
pub fn vdir_of(site: &Site) -> Result<Option<PathBuf>> {
    let path = Path::new("/dev/shm").join(site.id()?.vdir_name());
    Ok(path.is_file().then_some(path))
}
