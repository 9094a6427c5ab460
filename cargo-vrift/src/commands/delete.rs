//! `vrift delete`: forget what is kept for this project. The store, which all projects share, stays as it is.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use vrift_store::state_dir;

use super::{HiArgs, stop};
use crate::error::Error;
use crate::say;

/// What people write themselves stays.
const KEPT: [&str; 1] = ["config.toml"];

/// Stops the project's worker and removes its state.
///
/// # Errors
/// Where the worker does not end, or something cannot be removed.
pub fn run(hi: &HiArgs) -> Result<ExitCode, Error> {
    let id = hi.project.id();
    stop::stop_worker(&hi.home.worker_socket(id))?;
    let own = hi.project.root.as_path().join(state_dir::NAME);
    let mut kept = false;
    for folder in [own, hi.home.project_fallback(id)] {
        kept |= clear(&folder)?;
    }
    let slug = hi.project.slug();
    say::line(match kept {
        true => format!("deleted the state of {slug}; its settings are kept"),
        false => format!("deleted the state of {slug}"),
    });
    Ok(ExitCode::SUCCESS)
}

/// Empties and removes a state folder; whether something in it was kept. A link, or another user's folder, is nobody's state.
fn clear(folder: &Path) -> Result<bool, Error> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { action: "remove", path, source }
    };
    match fs::symlink_metadata(folder) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(false),
        Err(e) => return Err(fail(folder)(e)),
        Ok(meta) if !meta.is_dir() || meta.uid() != nix::unistd::geteuid().as_raw() => return Ok(false),
        Ok(_) => {}
    }
    let entries: Vec<PathBuf> = fs::read_dir(folder).map_err(fail(folder))?.flatten().map(|entry| entry.path()).collect();
    let is_kept = |path: &Path| path.file_name().is_some_and(|name| KEPT.iter().any(|kept| name == *kept));
    let kept = entries.iter().any(|path| is_kept(path));
    // What is kept keeps its `.gitignore`.
    let stays = |path: &Path| is_kept(path) || kept && path.file_name().is_some_and(|name| name == ".gitignore");
    for path in entries.iter().filter(|path| !stays(path)) {
        let removed = match path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
        removed.map_err(fail(path))?;
    }
    if !kept {
        fs::remove_dir(folder).map_err(fail(folder))?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stay_and_links_are_left_alone() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let state = tmp.path().join(".vrift");
        let make = || {
            fs::create_dir_all(state.join("staging/x")).expect("creates");
            for name in ["manifest.db", ".gitignore", "staging/x/f"] {
                fs::write(state.join(name), "").expect("writes");
            }
        };
        make();
        assert!(!clear(&state).expect("clears"));
        assert!(!state.exists());
        make();
        fs::write(state.join("config.toml"), "").expect("writes");
        assert!(clear(&state).expect("clears"));
        let mut left: Vec<_> = fs::read_dir(&state).expect("lists").flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, [".gitignore", "config.toml"]);
        let link = tmp.path().join("link");
        std::os::unix::fs::symlink(&state, &link).expect("links");
        assert!(!clear(&link).expect("leaves it"));
        assert!(state.join("config.toml").exists());
        assert!(!clear(&tmp.path().join("none")).expect("nothing there"));
    }
}
