//! A round: some builds at once, and the faults that happen to them. All of it follows from the seed, but for what the
//! machine's timing decides: which process a signal meets.

use std::time::Duration;

use fastrand::Rng;

use super::fault::{self, DISK, Kind, When};

/// A build.
#[derive(Clone, Debug)]
pub struct Build {
    /// Which checkout.
    pub place: usize,
    /// Which variant of its sources.
    pub variant: u32,
    /// Its target folder is removed before.
    pub clean: bool,
    /// Everything is run for real.
    pub recache: bool,
    /// Actions are looked up one by one, though the folder is empty.
    pub singly: bool,
    /// One job at a time.
    pub serial: bool,
}

/// A fault to come.
#[derive(Clone, Copy)]
pub struct Planned {
    /// What.
    pub kind: Kind,
    /// How long after the start of the builds; `None` before it.
    pub delay: Option<Duration>,
    /// For its details.
    pub seed: u64,
}

/// See the module.
pub struct Round {
    /// All of its builds.
    pub builds: Vec<Build>,
    /// All of its faults, in order.
    pub faults: Vec<Planned>,
    /// The state folder is the one on the small disk.
    pub on_disk: bool,
}

impl Round {
    /// Makes one up. `disk` tells whether there is a small disk to fill.
    pub fn plan(rng: &mut Rng, places: usize, variants: u32, disk: bool) -> Self {
        let on_disk = disk && rng.u32(..25) == 0;
        let mut all: Vec<usize> = (0..places).collect();
        rng.shuffle(&mut all);
        all.truncate([1, 1, 2, 2, 3, 4][rng.usize(..6)]);
        let builds = all.into_iter().map(|place| Build::plan(rng, place, variants)).collect();
        let count = [1, 1, 1, 2, 2, 3][rng.usize(..6)];
        let mut faults: Vec<Planned> = (0..count)
            .map(|at| {
                let kind = if on_disk && at == 0 { DISK } else { fault::choose(rng) };
                Planned::plan(rng, kind)
            })
            .collect();
        faults.sort_by_key(|fault| fault.delay);
        Self { builds, faults, on_disk }
    }
}

impl Build {
    fn plan(rng: &mut Rng, place: usize, variants: u32) -> Self {
        let one_of = |rng: &mut Rng, n| rng.u32(..n) == 0;
        Self {
            place,
            variant: rng.u32(..variants),
            clean: rng.u32(..5) < 3,
            recache: one_of(rng, 14),
            singly: one_of(rng, 3),
            serial: one_of(rng, 6),
        }
    }
}

impl Planned {
    fn plan(rng: &mut Rng, kind: Kind) -> Self {
        let before = match kind.when {
            When::Before => true,
            When::During => false,
            When::Any => rng.bool(),
        };
        // A warm build is over in a fifth of a second, one from scratch takes several.
        let longest = [150, 150, 150, 600, 600, 3000][rng.usize(..6)];
        let delay = (!before).then(|| Duration::from_millis(rng.u64(..longest)));
        Self { kind, delay, seed: rng.u64(..) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_everything() {
        let plan = |seed| {
            let mut rng = Rng::with_seed(seed);
            let rounds: Vec<Round> = (0..50).map(|_| Round::plan(&mut rng, 4, 5, true)).collect();
            let faults = |round: &Round| round.faults.iter().map(|f| (f.kind.name, f.delay, f.seed)).collect::<Vec<_>>();
            rounds.iter().map(|round| format!("{:?} {:?}", round.builds, faults(round))).collect::<Vec<_>>()
        };
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_kind_of_fault_is_chosen() {
        let mut rng = Rng::with_seed(1);
        let chosen: std::collections::BTreeSet<_> = (0..20_000).map(|_| fault::choose(&mut rng).name).collect();
        assert_eq!(chosen.len(), fault::KINDS.len());
    }
}
