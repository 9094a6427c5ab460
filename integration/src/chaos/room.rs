//! Faults of room: `/dev/shm` and a small disk that fill up.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use fastrand::Rng;

use super::scene::Scene;
use crate::Result;

/// Bytes that are written at a time.
const PIECE: usize = 1 << 16;

/// Fills `/dev/shm`, to the last byte or nearly.
pub fn shm(scene: &mut Scene, rng: &mut Rng) -> Result<Option<String>> {
    if !scene.own_shm {
        return Ok(None);
    }
    fill(scene, Path::new("/dev/shm"), rng)
}

/// Fills the small disk with the state folder and the store on it.
pub fn disk(scene: &mut Scene, rng: &mut Rng) -> Result<Option<String>> {
    match scene.disk.clone() {
        Some(disk) => fill(scene, &disk, rng),
        None => Ok(None),
    }
}

/// Takes all room, and then gives a little of it back, or none.
fn fill(scene: &mut Scene, dir: &Path, rng: &mut Rng) -> Result<Option<String>> {
    let path = dir.join(format!("filler-{}", scene.fillers.len()));
    if path.exists() {
        return Ok(None);
    }
    let mut file = File::create(&path)?;
    scene.fillers.push(path);
    let zeroes = [0; PIECE];
    // Until the kernel refuses; the last piece may fit in part.
    while file.write_all(&zeroes).is_ok() {}
    let left = if rng.bool() { 0 } else { rng.u64(..3 << 20) };
    let len = file.metadata()?.len();
    file.set_len(len.saturating_sub(left))?;
    Ok(Some(format!("{} KiB left", left >> 10)))
}
