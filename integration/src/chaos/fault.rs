//! The faults: a table of what can happen, how often, and when.
//!
//! The machine's clock is everybody's, so it is not set; a time namespace does not move `CLOCK_REALTIME` either. What a clock
//! that was wrong leaves behind is files dated in the future or long ago, and that is what the faults about times make.

use fastrand::Rng;

use super::scene::Scene;
use super::{attack, damage, files, room};
use crate::Result;

/// When a fault can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Before the builds start.
    Before,
    /// While they run.
    During,
    /// Either.
    Any,
}

/// A kind of fault.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name in reports.
    pub name: &'static str,
    /// How often it is chosen, in comparison with others.
    weight: u32,
    /// When it can happen.
    pub when: When,
    /// `vrift fsck` may find something afterwards, until a repair.
    pub damages: bool,
    /// It takes place in a state folder on a small disk.
    pub on_disk: bool,
    act: fn(&mut Scene, &mut Rng) -> Result<Option<String>>,
}

impl Kind {
    /// Lets it happen. Returns what was done; `None` where there was nothing to do it to.
    ///
    /// # Errors
    /// The harness failed.
    pub fn happen(&self, scene: &mut Scene, rng: &mut Rng) -> Result<Option<String>> {
        (self.act)(scene, rng)
    }
}

/// A row of the table without damage.
const fn kind(name: &'static str, weight: u32, when: When, act: fn(&mut Scene, &mut Rng) -> Result<Option<String>>) -> Kind {
    Kind { name, weight, when, damages: false, on_disk: false, act }
}

/// A row of the table with damage.
const fn harm(name: &'static str, weight: u32, when: When, act: fn(&mut Scene, &mut Rng) -> Result<Option<String>>) -> Kind {
    Kind { name, weight, when, damages: true, on_disk: false, act }
}

/// All kinds.
pub const KINDS: [Kind; 31] = [
    kind("worker killed", 14, When::During, attack::kill_worker),
    kind("worker killed again and again", 3, When::During, attack::kill_worker_often),
    kind("worker stopped for a while", 5, When::During, attack::stop_worker),
    kind("coordinator killed", 10, When::During, attack::kill_coordinator),
    kind("coordinator stopped for a while", 4, When::During, attack::stop_coordinator),
    kind("coordinator asked to end", 3, When::During, attack::end_coordinator),
    kind("all daemons killed", 6, When::Any, attack::kill_daemons),
    kind("client killed", 8, When::During, attack::kill_client),
    kind("client stopped for a while", 4, When::During, attack::stop_client),
    kind("front end killed", 5, When::During, attack::kill_front),
    kind("front end interrupted", 4, When::During, attack::interrupt_front),
    kind("compiler killed", 8, When::During, attack::kill_compiler),
    kind("compiler stopped for a while", 4, When::During, attack::stop_compiler),
    harm("base manifest damaged", 8, When::Any, damage::base),
    harm("base manifest damaged while nobody has it open", 4, When::Before, damage::base_asleep),
    harm("delta manifest damaged", 8, When::Any, damage::delta),
    harm("delta manifest damaged while nobody has it open", 4, When::Before, damage::delta_asleep),
    harm("blobs damaged", 8, When::Any, damage::blobs),
    harm("blobs cut", 4, When::Any, damage::cut_blobs),
    harm("blobs deleted", 6, When::Any, damage::delete_blobs),
    harm("blobs dated anew", 2, When::Any, damage::date_blobs),
    harm("store gone", 2, When::Any, damage::store),
    kind("sockets removed", 3, When::Any, files::sockets),
    kind("state files damaged", 5, When::Any, files::states),
    kind("project's state folder removed", 4, When::Any, files::state_folder),
    kind("vrift's own parts damaged", 2, When::Before, files::parts),
    kind("VDir damaged", 8, When::Any, damage::vdir),
    kind("sources dated in the future", 3, When::Before, files::sources_in_the_future),
    kind("sources dated long ago", 3, When::Before, files::sources_long_ago),
    harm("outputs dated in the future", 2, When::Before, files::outputs_in_the_future),
    kind("/dev/shm full", 3, When::Any, room::shm),
];

/// The small disk is full. Chosen by itself: its builds have another state folder.
pub const DISK: Kind = Kind { name: "disk full", weight: 0, when: When::Any, damages: false, on_disk: true, act: room::disk };

/// One of all kinds for a state folder on an ordinary disk.
pub fn choose(rng: &mut Rng) -> Kind {
    let all: u32 = KINDS.iter().map(|kind| kind.weight).sum();
    let mut at = rng.u32(..all);
    for kind in KINDS {
        match at.checked_sub(kind.weight) {
            Some(rest) => at = rest,
            None => return kind,
        }
    }
    KINDS[0]
}
