//! Faults of other files: sockets, state files, vrift's own parts, and times.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fastrand::Rng;

use super::scene::Scene;
use crate::Result;

type Happened = Result<Option<String>>;

/// A day.
const DAY: Duration = Duration::from_secs(86_400);

/// Long ago: the year 2001.
const LONG_AGO: Duration = Duration::from_secs(1_000_000_000);

/// Removes the coordinator's socket, the workers', or their folder.
pub fn sockets(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let run = scene.home.join("run");
    let coordinator = run.join("vriftd.sock");
    match rng.u32(..3) {
        0 => Ok(fs::remove_file(&coordinator).is_ok().then(|| "the coordinator's".to_owned())),
        1 => {
            let Ok(entries) = fs::read_dir(&run) else { return Ok(None) };
            let workers = entries.flatten().map(|entry| entry.path());
            let sockets = workers.filter(|path| path.extension().is_some_and(|ext| ext == "sock") && *path != coordinator);
            let removed = sockets.filter(|path| fs::remove_file(path).is_ok()).count();
            Ok((removed > 0).then(|| format!("{removed} workers'")))
        }
        _ => Ok(fs::remove_dir_all(&run).is_ok().then(|| "their folder".to_owned())),
    }
}

/// Damages what is kept besides databases and blobs.
pub fn states(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let mut files =
        vec![scene.home.join("instances.json"), scene.home.join("the_source/mark"), scene.home.join("run/vriftd.lock")];
    for site in &scene.sites {
        let names = ["session.json", "state.json", ".gitignore", "ledger.json"];
        files.extend(names.map(|name| site.dir.join(".vrift").join(name)));
    }
    let there: Vec<PathBuf> = files.into_iter().filter(|path| path.exists()).collect();
    let Some(path) = rng.choice(&there) else { return Ok(None) };
    let content = fs::read(path)?;
    let what = match rng.u32(..4) {
        0 => fs::remove_file(path).map(|()| "deleted")?,
        1 => fs::write(path, b"").map(|()| "emptied")?,
        2 => fs::write(path, &content[..content.len() / 2]).map(|()| "cut")?,
        _ => fs::write(path, b"[{\"nonsense\": \xff\xfe").map(|()| "overwritten")?,
    };
    Ok(Some(format!("{}: {what}", path.strip_prefix(&scene.env).unwrap_or(path).display())))
}

/// As `git clean -x` does.
pub fn state_folder(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let Some(site) = rng.choice(&scene.sites) else { return Ok(None) };
    let dir = site.dir.join(".vrift");
    Ok(fs::remove_dir_all(&dir).is_ok().then(|| dir.display().to_string()))
}

/// The shim and the runner of actions.
pub fn parts(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let files = walkdir::WalkDir::new(scene.home.join("lib")).into_iter().flatten();
    let mut all: Vec<PathBuf> = files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect();
    all.sort();
    let Some(path) = rng.choice(&all) else { return Ok(None) };
    // Under another name first: whoever runs it keeps the file that was there.
    let content = fs::read(path)?;
    fs::remove_file(path)?;
    let what = match rng.u32(..3) {
        0 => "deleted",
        1 => fs::write(path, b"").map(|()| "emptied")?,
        _ => fs::write(path, &content[..content.len() / 3]).map(|()| "cut")?,
    };
    Ok(Some(format!("{}: {what}", path.file_name().unwrap_or_default().display())))
}

fn date(path: &Path, time: SystemTime) -> std::io::Result<()> {
    File::open(path)?.set_times(FileTimes::new().set_modified(time).set_accessed(time))
}

/// Dates the files below `dir`.
///
/// # Errors
/// One cannot be dated.
pub fn date_sources(dir: &Path, files: &[&str], time: SystemTime) -> Result {
    for file in files {
        date(&dir.join(file), time)?;
    }
    Ok(())
}

pub fn sources_in_the_future(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let Some(site) = rng.choice(&scene.sites) else { return Ok(None) };
    date_sources(&site.dir, &site.files, SystemTime::now() + DAY)?;
    Ok(Some(site.dir.display().to_string()))
}

/// Cargo takes what was built since for newer than an edit, so nothing may have been built.
pub fn sources_long_ago(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let Some(site) = rng.choice(&scene.sites) else { return Ok(None) };
    let _ = fs::remove_dir_all(site.dir.join("target"));
    date_sources(&site.dir, &site.files, SystemTime::UNIX_EPOCH + LONG_AGO)?;
    Ok(Some(site.dir.display().to_string()))
}

/// Some of them share their inodes, times too, with blobs. Cargo would not see an edit afterwards, so there is none.
pub fn outputs_in_the_future(scene: &mut Scene, rng: &mut Rng) -> Happened {
    let same: Vec<PathBuf> = scene.sites.iter().filter(|site| site.same).map(|site| site.dir.clone()).collect();
    let Some(dir) = rng.choice(same) else { return Ok(None) };
    let time = SystemTime::now() + DAY;
    let mut count = 0;
    for entry in walkdir::WalkDir::new(dir.join("target")).into_iter().flatten() {
        if entry.file_type().is_file() && date(entry.path(), time).is_ok() {
            count += 1;
        }
    }
    scene.stale.insert(dir.clone());
    Ok((count > 0).then(|| format!("{count} in {}", dir.display())))
}
