//! Was a file, as it is now, already so when a run began?
//!
//! A record names the state in which its inputs were while the command ran. The worker looks at them afterwards, so it has
//! to know that nothing changed in between. Each of these proves it:
//!
//! 1. the file's change time lies before the start;
//! 2. the worker knew the content under this very stamp before the start;
//! 3. the client's look-up, which came before the start, found the file with this very stamp, or as the same blob;
//! 4. the file is a blob that a hit put there before the start;
//! 5. the file is a blob into which a record turned the output of its run, and that output was last changed before the
//!    start, or was seen unchanged by the look-up. Adopting an output changes its inode's times although not its content:
//!    with Cargo's pipelining, a crate is compiled from a library whose own run is being recorded meanwhile.
//!
//! Of a file that the run itself changed there is nothing to look at afterwards. What the look-up read of it counts, and the last
//! thing before the run is to see whether it still looks the same ([`Before::forget_changed`]).
//!
//! Times of files are compared with the client's coarse clock, the one that the kernel stamps files with: a file that changes
//! after the start has at least that time. Times of the worker's own are compared with each other.

use std::collections::{HashMap, HashSet};

use vrift_core::digest::Digest;
use vrift_core::paths::AbsPath;
use vrift_core::wire::Stamp;

use super::digests::{By, Digests, Known, Table, is_blob_like};
use super::sight::{Sight, as_path, look};
use crate::clock::now_ns;

/// Files looked at for one look-up.
const MAX_SIGHTINGS: usize = 1024;

/// How a file was when the look-up came.
#[derive(Clone, Copy)]
struct Sighting {
    stamp: Stamp,
    blob_like: bool,
    /// A later change is sure to show.
    sure: bool,
    /// What was in it, where that was read or known.
    content: Option<Digest>,
}

/// What was seen before a run began.
#[derive(Default)]
pub struct Before {
    /// The worker's clock when it sent the client off to run its command.
    pub sent_ns: i64,
    seen: HashMap<Box<[u8]>, Sighting>,
    /// What earlier runs of the same script have left, as far as is known.
    left: HashSet<AbsPath>,
}

impl Before {
    /// Nothing was seen.
    pub fn unknown() -> Self {
        Self { sent_ns: i64::MIN, ..Self::default() }
    }

    /// Looks at a file that the command names.
    pub fn look(&mut self, path: &[u8], digests: &Digests) -> Option<Sight> {
        if self.seen.len() >= MAX_SIGHTINGS {
            return None;
        }
        let looked = now_ns();
        let sight = look(path).ok()?;
        let stamp = sight.stamp;
        let sure = digests.will_show_change(as_path(path), &stamp, looked);
        self.seen.insert(path.into(), Sighting { stamp, blob_like: is_blob_like(&sight), sure, content: None });
        Some(sight)
    }

    /// The file that was looked at has this content.
    pub fn learn(&mut self, path: &[u8], content: Digest) {
        if let Some(sighting) = self.seen.get_mut(path) {
            sighting.content = Some(content);
        }
    }

    /// An earlier run of the same script has left something at this path.
    pub fn add_left(&mut self, path: AbsPath) {
        self.left.insert(path);
    }

    /// Whether that is so.
    pub fn was_left(&self, path: &AbsPath) -> bool {
        self.left.contains(path)
    }

    /// What the file held when the look-up came.
    pub fn content(&self, path: &[u8]) -> Option<Digest> {
        self.seen.get(path)?.content
    }

    /// Time has passed: the content of files that have changed since is not known any more.
    pub fn forget_changed(&mut self) {
        for (path, sighting) in &mut self.seen {
            if sighting.content.is_some() && look(path).is_ok_and(|sight| sight.stamp != sighting.stamp) {
                sighting.content = None;
            }
        }
    }
}

/// How a path came to be the name of a blob.
#[derive(Clone, Copy, Debug)]
enum How {
    /// A hit was told to put it there; done at that time of the worker's clock, [`i64::MAX`] while it may not be.
    Restored(i64),
    /// A record's output; its stamp before the store adopted it.
    Adopted(Stamp),
}

#[derive(Clone, Copy, Debug)]
struct Binding {
    digest: Digest,
    how: How,
}

/// Which paths are blobs, and since when.
#[derive(Default)]
pub struct Bindings {
    table: Table<Binding>,
}

impl Bindings {
    /// A hit is about to make `path` a name of the blob `digest`. Where it is that already, it stays so since then.
    pub fn will_restore(&self, path: &[u8], digest: Digest) {
        let stays = self.table.get(path).is_some_and(|b| b.digest == digest && !matches!(b.how, How::Restored(i64::MAX)));
        if !stays {
            self.table.insert(path, Binding { digest, how: How::Restored(i64::MAX) });
        }
    }

    /// The hit that was about to make `path` a blob is done.
    pub fn restored(&self, path: &[u8]) {
        self.table.update(path, |binding| {
            if let How::Restored(done) = &mut binding.how {
                *done = (*done).min(now_ns());
            }
        });
    }

    /// The store adopted the output at `path`, which had `stamp` until then.
    pub fn adopted(&self, path: &[u8], digest: Digest, stamp: Stamp) {
        self.table.insert(path, Binding { digest, how: How::Adopted(stamp) });
    }

    /// Whether the file at `path`, now `known` with `stamp`, was so when the run began that `before` saw start, at the
    /// latest at `started_ns` of the coarse clock.
    pub fn held_since(&self, path: &[u8], stamp: &Stamp, known: &Known, before: &Before, started_ns: i64) -> bool {
        if stamp.ctime_ns < started_ns {
            return true;
        }
        let sighting = before.seen.get(path);
        if sighting.is_some_and(|s| s.sure && is_unchanged(path, &s.stamp, stamp)) {
            return true;
        }
        match known.by {
            By::Reading => false,
            By::Stamp { since } => since < before.sent_ns,
            By::Blob => {
                sighting.is_some_and(|s| s.blob_like && is_same_inode(&s.stamp, stamp))
                    || self.table.get(path).is_some_and(|binding| {
                        binding.digest == known.digest && binding_held(path, &binding.how, sighting, before, started_ns)
                    })
            }
        }
    }
}

fn binding_held(path: &[u8], how: &How, sighting: Option<&Sighting>, before: &Before, started_ns: i64) -> bool {
    match how {
        How::Restored(done) => *done < before.sent_ns,
        How::Adopted(stamp) => stamp.ctime_ns < started_ns || sighting.is_some_and(|s| is_unchanged(path, &s.stamp, stamp)),
    }
}

/// Whether two looks at a file saw the same content. rustc links a library's metadata into its incremental state while the
/// crates that need it are compiled already: its change time moves then, and nothing else.
fn is_unchanged(path: &[u8], before: &Stamp, after: &Stamp) -> bool {
    let artifact = path.ends_with(b".rmeta") || path.ends_with(b".rlib");
    before == after || (artifact && before.mode == after.mode && is_same_inode(before, after))
}

fn is_same_inode(a: &Stamp, b: &Stamp) -> bool {
    // Not the mode: a blob gets a write bit with its first link.
    (a.dev, a.ino, a.size, a.mtime_ns) == (b.dev, b.ino, b.size, b.mtime_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_000;

    fn stamp(ctime_ns: i64) -> Stamp {
        Stamp { dev: 1, ino: 2, size: 3, mtime_ns: 4, ctime_ns, mode: 0o100_444 }
    }

    fn before() -> Before {
        Before { sent_ns: START + 5, ..Before::default() }
    }

    fn seen(stamp: Stamp, sure: bool) -> Before {
        let mut before = before();
        before.seen.insert(b"/f"[..].into(), Sighting { stamp, blob_like: true, sure, content: None });
        before
    }

    fn held(bindings: &Bindings, ctime: i64, by: By, before: &Before) -> bool {
        bindings.held_since(b"/f", &stamp(ctime), &Known { digest: Digest::of(b"x"), by }, before, START)
    }

    #[test]
    fn times_before_the_start_prove_it_and_later_ones_do_not() {
        let none = Bindings::default();
        assert!(held(&none, START - 1, By::Reading, &before()));
        assert!(!held(&none, START, By::Reading, &before()));
        assert!(held(&none, START, By::Stamp { since: START + 4 }, &before()));
        assert!(!held(&none, START, By::Stamp { since: START + 5 }, &before()));
        assert!(!held(&none, START, By::Blob, &before()));
    }

    #[test]
    fn what_the_look_up_saw_proves_it() {
        let none = Bindings::default();
        assert!(held(&none, START, By::Reading, &seen(stamp(START), true)));
        assert!(!held(&none, START, By::Reading, &seen(stamp(START), false)), "it might change without showing");
        assert!(!held(&none, START, By::Reading, &seen(stamp(START + 1), true)));
        assert!(held(&none, START + 9, By::Blob, &seen(stamp(START), false)), "the same blob, linked elsewhere since");
    }

    #[test]
    fn hits_prove_it_once_they_are_done() {
        let bindings = Bindings::default();
        let x = Digest::of(b"x");
        bindings.will_restore(b"/f", x);
        assert!(!held(&bindings, START, By::Blob, &before()));
        bindings.restored(b"/f");
        let later = Before { sent_ns: now_ns() + 1, ..before() };
        assert!(held(&bindings, START, By::Blob, &later));
        bindings.will_restore(b"/f", x);
        assert!(held(&bindings, START, By::Blob, &later), "it was so already");
        bindings.will_restore(b"/f", Digest::of(b"y"));
        bindings.restored(b"/f");
        assert!(!held(&bindings, START, By::Blob, &later), "that is another content");
    }

    #[test]
    fn adopted_outputs_prove_it_by_what_they_were() {
        let bindings = Bindings::default();
        let x = Digest::of(b"x");
        bindings.adopted(b"/f", x, stamp(START - 1));
        assert!(held(&bindings, START + 50, By::Blob, &before()));
        bindings.adopted(b"/f", x, stamp(START));
        assert!(!held(&bindings, START + 50, By::Blob, &before()));
        let other = Stamp { ino: 77, ..stamp(START) };
        bindings.adopted(b"/f", x, other);
        assert!(held(&bindings, START + 50, By::Blob, &seen(other, false)));
    }
}
