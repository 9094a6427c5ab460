//! The chaos suite: builds under faults. One command, a seed that decides what happens, and the folder kept where something
//! was wrong.
#![forbid(unsafe_code)]

use integration::{Result, chaos};

fn main() -> Result {
    let options = chaos::Options::from_args()?;
    chaos::own_mounts(&options);
    chaos::run(&options)
}
