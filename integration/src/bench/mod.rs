//! Timings, tables and result files. Every number in the documentation comes from one command here:
//!
//! | command | question |
//! |---|---|
//! | `bench-second-checkout` | what does a second checkout cost, in time and disk? |
//! | `bench-first-build` | what does the first build cost, with an empty store, over plain Cargo? |
//! | `bench-edit-loop` | what does vrift cost where there is nothing to restore? |
//! | `bench-hit-cost` | what does one restored action cost? |
//! | `bench-exec-startup` | what does it cost to start the runner of an action? |
//! | `bench-idle-memory` | what does a worker weigh that has nothing to do? |
//! | `bench-c-builds` | what do C builds cost, first and in another checkout, against plain ones and ccache? |
//! | `bench-stat` | what does it cost to look at a file, through the VDir and by the kernel? |
//! | `bench-vdir-programs` | what do programs that look at many files gain? |
//! | `bench-disk` | what do ten checkouts cost on disk? |
//! | `bench-recovery` | how soon does a build go on, and a daemon come back, after a kill? |
//! | `bench-isolation` | what does a fault in one project cost another? |
//!
//! Run as `cargo run --release -p integration --bin bench-…`. With `--save`, results are kept in `benches/results`, stamped
//! with date, machine, versions and commit.

pub mod map;
mod measure;
mod options;
mod report;

pub use measure::{Cost, Series, measure, median, settle};
pub use options::Options;
pub use report::{Report, bytes, millis, ratio, seconds};
