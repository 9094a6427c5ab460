//! A script that depends on thousands of files. Look-ups remember what they found out about them; whatever changes anywhere among them is
//! noticed all the same.

use std::time::Duration;

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::command::within;
use integration::env::TestEnv;
use integration::npm;

/// Reads all files below `data`, looks for some that are not there, and writes what it found.
const SUM: &str = r#"
const fs = require('fs'), path = require('path');
let out = [];
const walk = folder => {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true }).sort((a, b) => a.name < b.name ? -1 : 1)) {
    const at = path.join(folder, entry.name);
    if (fs.statSync(at).isDirectory()) walk(at);
    else out.push(at + ' ' + fs.readFileSync(at, 'utf8').trim() + (fs.statSync(at).mode & 0o100 ? ' runs' : ''));
  }
  for (const name of ['missing.json', 'none/deep.json']) if (fs.existsSync(path.join(folder, name))) out.push('there is ' + name);
};
walk('data');
fs.mkdirSync('dist', { recursive: true });
fs.writeFileSync('dist/out.txt', out.join('\n') + '\n');
"#;

const MAKE: &str = "for p in $(seq 1 40); do for d in lib lib/sub; do mkdir -p data/pkg-$p/$d; \
                    for f in $(seq 1 20); do echo $p $d $f > data/pkg-$p/$d/f$f.js; done; done; done; ln -s f1.js data/pkg-3/lib/link.js; \
                    mkdir ../outside-$(basename $PWD); ln data/pkg-4/lib/f1.js ../outside-$(basename $PWD)/other-name";

/// What changes, each time behind look-ups that had nothing left to find out.
const CHANGES: [&str; 14] = [
    "echo other > data/pkg-9/lib/sub/f7.js",
    "touch -r data/pkg-9/lib/f7.js stamp; printf '8 lib 7\n' > data/pkg-9/lib/f7.js; touch -r stamp data/pkg-9/lib/f7.js; rm stamp",
    "echo new > data/pkg-10/lib/sub/f99.js",
    "rm data/pkg-11/lib/f2.js",
    "mv data/pkg-12/lib/sub data/pkg-12/lib/moved",
    "echo {} > data/pkg-13/missing.json",
    "mkdir data/pkg-14/lib/none; echo {} > data/pkg-14/lib/none/deep.json",
    "rm data/pkg-15/lib/f1.js; ln -s f2.js data/pkg-15/lib/f1.js",
    "chmod +x data/pkg-16/lib/sub/f3.js",
    "mv data/pkg-17 t; mv data/pkg-18 data/pkg-17; mv t data/pkg-18",
    "ln -sfn f5.js data/pkg-3/lib/link.js",
    "echo by another name > ../outside-$(basename $PWD)/other-name",
    "rm -r data/pkg-19/lib/sub; ln -s ../../pkg-20/lib/sub data/pkg-19/lib/sub",
    "rm -r data/pkg-21; cp -r data/pkg-22 data/pkg-21",
];

fn hits(checkout: &Checkout<'_>) -> Result<bool> {
    Ok(npm::vrift(checkout, "x").ok()?.summary().is_some_and(|line| line.contains("1 hit")))
}

#[test]
fn a_change_among_thousands_of_files() -> Result {
    let env = TestEnv::new()?;
    let make = |name: &str| -> Result<Checkout<'_>> {
        let checkout = env.checkout(name)?;
        checkout
            .write("package.json", r#"{"name":"p","version":"1.0.0","scripts":{"x":"node sum.js"}}"#)?
            .write("sum.js", SUM)?;
        checkout.sh(MAKE).ok()?;
        Ok(checkout)
    };
    let (ours, real) = (make("ours")?, make("real")?);
    for change in std::iter::once("true").chain(CHANGES) {
        let behind = |e: anyhow::Error| e.context(format!("behind `{change}`"));
        for checkout in [&ours, &real] {
            checkout.sh(change).ok().map_err(behind)?;
        }
        npm::npm(&real, "x").ok().map_err(behind)?;
        ensure!(!hits(&ours).map_err(behind)?, "`{change}` was not noticed");
        ensure!(ours.read("dist/out.txt")? == real.read("dist/out.txt")?, "another result behind `{change}`");
        // What was written a moment ago settles first.
        within(Duration::from_secs(20), || hits(&ours)).map_err(behind)?;
        for _ in 0..3 {
            ensure!(hits(&ours).map_err(behind)?, "nothing changed behind `{change}`");
        }
        ensure!(ours.read("dist/out.txt")? == real.read("dist/out.txt")?, "another result for a hit behind `{change}`");
    }
    Ok(())
}
