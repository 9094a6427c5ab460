//! The thread that keeps the map.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use vrift_core::paths::AbsPath;
use vrift_core::vdir::layout::state;
use vrift_core::vdir::ring::Ring;
use vrift_core::vdir::{self, Identity, Mem, asked};
use vrift_core::wire::KnownFile;

use super::Plan;
use super::place::{self, Draft};
use super::shared::Fact;
use super::tree::{Before, Ended, Ground, Tree};
use crate::worker::sight::as_path;

/// How long answers may be taken behind the last time that the keeper was seen.
const VALID: Duration = Duration::from_secs(3600);

/// How often the keeper looks for questions while some come, and while none do.
const TICKS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// For so long behind a client or a question, more are expected.
const LIVELY: Duration = Duration::from_secs(60);

/// Between two phases: a storm of changes costs no more than this allows, and readers ask the kernel meanwhile.
const PAUSE: Duration = Duration::from_millis(2);

/// Of how many ticks only a tenth is waited for, behind a question about a shared tree.
const SOON: u32 = 10;

/// Before a map is made again, where the way to a tree changed.
const MOVED: Duration = Duration::from_secs(1);

/// Before another attempt, where somebody meddled with the files.
const MEDDLED: Duration = Duration::from_millis(100);

/// Before another attempt, where there could be no VDir.
const RETRY: Duration = Duration::from_secs(60);

/// Questions that are answered in one phase.
const MAX_ANSWERS: usize = 1024;

/// How the keeper is told to end.
pub struct Wake {
    /// Ready to be read once it is to wake up.
    pub woken: OwnedFd,
    /// Whether it is to end.
    pub stop: Arc<AtomicBool>,
}

impl Wake {
    /// Waits; whether to go on.
    fn sleep(&self, time: Duration) -> bool {
        let mut polled = [PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut polled, timeout(time));
        !self.stop.load(Ordering::Acquire)
    }
}

/// Keeps the VDir until it is told to end.
pub fn keep(plan: &Plan, wake: &Wake) {
    let place = plan.place.clone();
    let mut before = Before::default();
    if plan.root.is_empty() {
        // A coordinator that was killed left it; there is only one at a time.
        vdir::remove(&place);
    }
    if !wake.sleep(plan.delay) {
        return;
    }
    loop {
        match serve(plan, &place, wake, &mut before) {
            Ok(Next::End) => break,
            Ok(Next::Again) => continue,
            // A worker whose project is elsewhere ends; one that misread a damaged map does not.
            Err(Ended::Moved) if plan.root.is_empty() || as_path(&plan.root).is_dir() => {
                tracing::info!("the way to a tree changed");
                if !wake.sleep(MOVED) {
                    break;
                }
                continue;
            }
            Err(ended @ Ended::Meddled) => {
                tracing::warn!("VDir: {ended}; it is made anew");
                if !wake.sleep(MEDDLED) {
                    break;
                }
                continue;
            }
            Err(ended @ (Ended::Moved | Ended::Unfit | Ended::NoRing(_))) => {
                tracing::info!("no VDir: {ended}");
                break;
            }
            Err(ended) => {
                tracing::warn!("no VDir: {ended}");
                if matches!(&ended, Ended::Io(e) if e.kind() == io::ErrorKind::StorageFull) {
                    plan.notices.add("no VDir: /dev/shm is full; files are looked up through the kernel".to_owned());
                }
            }
        }
        vdir::remove(&place);
        if !wake.sleep(RETRY) {
            break;
        }
    }
    vdir::remove(&place);
}

/// What to do behind a VDir.
enum Next {
    /// Make another one.
    Again,
    /// Nothing.
    End,
}

fn serve(plan: &Plan, place: &Path, wake: &Wake, before: &mut Before) -> Result<Next, Ended> {
    let draft = Draft::new(place)?;
    let (questions, questions_file) = place::questions(place)?;
    let began = Instant::now();
    // Two descriptors: each tells of a change once.
    let (mounts, mounts_again) = (File::open("/proc/self/mountinfo")?, File::open("/proc/self/mountinfo")?);
    let ground = ground(plan)?;
    let mut tree = match &plan.root[..] {
        b"" => Tree::on_demand(&ground, &draft, &plan.shared.tops(), std::mem::take(before))?,
        _ => Tree::scan(&ground, &draft)?,
    };
    tree.watch_own(questions_file)?;
    let mount_events = PollFlags::POLLPRI | PollFlags::POLLERR;
    let ring = {
        let notices = tree.notices();
        let polled = [(notices.as_fd(), PollFlags::POLLIN.bits()), (mounts.as_fd(), mount_events.bits())];
        Ring::new(tree.writer.map(), &polled).map_err(Ended::NoRing)?
    };
    tree.writer.seal(ring.offsets());
    ring.collect(tree.writer.map())?;
    tree.settle()?;
    let mut valid_until = extend(&tree);
    if !plan.root.is_empty() {
        plan.shared.changes().begin(ground.identity.generation);
        tree.note_changes(plan.shared.changes());
    }
    tree.writer.set_state(state::SERVING);
    ring.release(tree.writer.map())?;
    tree.writer.end();
    // From here on there may be readers: however it ends, they are told.
    let published = draft.publish(place).map_err(Ended::from).and_then(|file| tree.watch_own(file));
    let result = published.and_then(|()| {
        plan.shared.serve(vdir::open(place, geteuid().as_raw()).ok());
        tracing::info!("VDir of {} entries after {:?}", tree.writer.live(), began.elapsed());
        attend(plan, wake, &mut tree, &Eyes { ring: &ring, mounts: &mounts_again, questions: &questions }, &mut valid_until)
    });
    plan.shared.serve(None);
    tree.writer.begin();
    if plan.root.is_empty() {
        *before = tree.asked();
    }
    tree.writer.set_state(if matches!(result, Ok(Next::Again)) { state::MOVED } else { state::ENDED });
    result
}

/// What the keeper looks at.
struct Eyes<'a> {
    ring: &'a Ring,
    mounts: &'a File,
    questions: &'a Mem,
}

fn attend(plan: &Plan, wake: &Wake, tree: &mut Tree, eyes: &Eyes<'_>, valid_until: &mut Instant) -> Result<Next, Ended> {
    let mut lively = Instant::now();
    let mut soon = 0_u32;
    loop {
        if plan.activity.connections() > 0 {
            lively = Instant::now();
        }
        let mut tick = TICKS[usize::from(lively.elapsed() > LIVELY)];
        if soon > 0 {
            (soon, tick) = (soon - 1, tick / 10);
        }
        let due = tree.next_due().map_or(tick, |due| due.saturating_duration_since(Instant::now()).min(tick));
        let (noticed, mounted) = {
            let notices = tree.notices();
            let mut polled = [
                PollFd::new(notices.as_fd(), PollFlags::POLLIN),
                PollFd::new(eyes.mounts.as_fd(), PollFlags::POLLPRI | PollFlags::POLLERR),
                PollFd::new(wake.woken.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut polled, timeout(due));
            (polled[0].any() == Some(true), polled[1].any() == Some(true))
        };
        if wake.stop.load(Ordering::Acquire) {
            return Ok(Next::End);
        }
        if asked::take_damage(eyes.questions) {
            tracing::warn!("VDir: damage was found; it is made anew");
            return Ok(Next::Again);
        }
        if Instant::now() >= *valid_until {
            tree.writer.begin();
            tree.expire(2 * VALID);
            *valid_until = extend(tree);
            phase(tree, eyes, false, &[], &[])?;
        }
        let mut numbers = tree.due();
        if asked::any(eyes.questions) {
            lively = Instant::now();
            numbers.extend(asked::all(eyes.questions, tree.used()));
        }
        let facts = plan.shared.take_facts();
        let tops = plan.shared.take_new_tops();
        if !numbers.is_empty() && plan.root.is_empty() {
            // Who asks for a folder asks next for what is in it.
            soon = SOON;
        }
        if noticed
            || mounted
            || tree.writer.doubts_seen() != asked::doubts(eyes.questions)
            || !numbers.is_empty()
            || !facts.is_empty()
            || !tops.is_empty()
        {
            if !tops.is_empty() {
                tree.writer.begin();
                tops.iter().for_each(|top| tree.admit(top));
            }
            for (n, part) in chunks(numbers).into_iter().enumerate() {
                let told = phase(tree, eyes, mounted && n == 0, &part, if n == 0 { &facts } else { &[] })?;
                recall(plan, tree, &told);
            }
            if tree.is_to_grow() {
                return Ok(Next::Again);
            }
            if noticed && !wake.sleep(PAUSE) {
                return Ok(Next::End);
            }
        }
    }
}

/// At least one part, be it empty.
fn chunks(numbers: Vec<u32>) -> Vec<Vec<u32>> {
    if numbers.is_empty() { vec![numbers] } else { numbers.chunks(MAX_ANSWERS).map(<[u32]>::to_vec).collect() }
}

/// Takes notices, then answers questions; gives what was told that had not been. See [`vrift_core::vdir`] for why it is done in this order.
fn phase(tree: &mut Tree, eyes: &Eyes<'_>, mounted: bool, numbers: &[u32], facts: &[Fact]) -> Result<Vec<u32>, Ended> {
    tree.writer.begin();
    eyes.ring.collect(tree.writer.map())?;
    tree.settle()?;
    if mounted {
        tree.renew()?;
    }
    let doubts = asked::doubts(eyes.questions);
    if tree.writer.set_doubts_seen(doubts) {
        tree.forget_all();
    }
    let told = numbers.iter().copied().filter(|number| tree.tell(*number)).collect();
    facts.iter().for_each(|fact| tree.learn(fact));
    for number in tree.open_questions() {
        asked::answered(eyes.questions, number);
    }
    eyes.ring.release(tree.writer.map())?;
    tree.writer.end();
    Ok(told)
}

/// Looks for the digests of files that were just told, which go into the map in the next phase: readers do not wait for a database.
fn recall(plan: &Plan, tree: &Tree, numbers: &[u32]) {
    let Some(known) = &plan.known else { return };
    let paths = numbers.iter().filter_map(|number| tree.lacks_digest(*number));
    let files: Vec<KnownFile> = paths.filter_map(|path| known.known_file(&AbsPath::new(&path).ok()?)).collect();
    plan.shared.learn_all(&files);
}

/// Lets answers be taken for a while; when to do so again.
fn extend(tree: &Tree) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    tree.writer.set_valid_until((now + VALID).as_secs());
    Instant::now() + VALID / 2
}

fn ground(plan: &Plan) -> io::Result<Ground> {
    let namespace = |name: &str| fs::metadata(format!("/proc/self/ns/{name}")).map(|meta| meta.ino());
    let mut random = [0; 24];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut random)?;
    let number = |at: usize| random.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    let identity = Identity {
        project: plan.project,
        // 0 stands for none.
        generation: number(16) | 1,
        namespaces: [namespace("mnt")?, namespace("user")?],
        uid: geteuid().as_raw(),
        key: [number(0), number(8)],
        root: plan.root.clone(),
    };
    Ok(Ground { identity, limits: plan.limits })
}

fn timeout(time: Duration) -> PollTimeout {
    // Rounded up: a wait of less than a millisecond is not to become a spin.
    PollTimeout::try_from(time + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
}
