//! A few C files and the commands that make something of them: nothing runs in a second checkout, what is there is right, and a change is
//! noticed.

use anyhow::{Context, ensure};
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::snapshot::{Exceptions, Snapshot};

/// A few files and the commands that make something of them. What the commands print is compared, too.
pub struct Case {
    pub files: &'static [(&'static str, &'static str)],
    pub script: &'static str,
}

/// Prints what `word.h` says.
pub const HELLO: &str = "#include <stdio.h>\n#include \"word.h\"\nint main(void) { puts(WORD); return 0; }\n";

impl Case {
    /// A checkout with the files.
    pub fn checkout<'e>(&self, env: &'e TestEnv, name: &str) -> Result<Checkout<'e>> {
        let checkout = env.checkout(name)?;
        // A Makefile makes the folder a project.
        checkout.write("Makefile", "all:\n")?;
        for (path, content) in self.files {
            checkout.write(path, content)?;
        }
        Ok(checkout)
    }

    /// Runs the commands in two checkouts: in the second nothing runs. Then changes it, and runs them again: what is there
    /// afterwards is what a run from scratch makes, and the commands print something else.
    pub fn notices(&self, change: impl Fn(&Checkout<'_>) -> Result) -> Result {
        let env = TestEnv::new()?;
        self.checkout(&env, "first")?.run(self.script).ok()?;
        let second = self.checkout(&env, "elsewhere/second")?;
        let judged = second.run(self.script).judged()?;
        judged.nothing_ran()?;
        self.is_right(&second, &judged.done.stdout).context("unchanged")?;
        change(&second)?;
        let printed = second.run(self.script).ok()?.stdout;
        ensure!(printed != judged.done.stdout, "the change shows nowhere: {printed}");
        self.is_right(&second, &printed).context("changed")
    }

    /// Runs all commands for real at the same place, and compares.
    pub fn is_right(&self, checkout: &Checkout<'_>, printed: &str) -> Result {
        let ours = Snapshot::of(checkout.dir())?;
        let uncached = checkout.run(self.script).env("VRIFT_RECACHE", "1").ok()?;
        ensure!(printed == uncached.stdout, "it prints {printed:?}, uncached {:?}", uncached.stdout);
        ours.same_as(&Snapshot::of(checkout.dir())?, &Exceptions::load()?)?;
        let plain = checkout.sh(self.script).ok()?;
        ensure!(printed == plain.stdout, "it prints {printed:?}, without vrift {:?}", plain.stdout);
        Ok(())
    }
}

/// Another text in a file.
pub fn edit(path: &'static str, old: &'static str, new: &'static str) -> impl Fn(&Checkout<'_>) -> Result {
    move |checkout| checkout.edit(path, old, new).map(drop)
}
