//! What steers a script without being read: names, modes, times, what can be made and removed. Each script runs with npm in one checkout
//! and with vrift in another, again and again while things change: the same exit status, and the same files.

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::npm;

/// Runs the script in both, behind each of the steps.
fn compare(name: &str, script: &str, steps: &[&str]) -> Result {
    let env = TestEnv::new()?;
    let make = |place: &str| -> Result<Checkout<'_>> {
        let checkout = env.checkout(&format!("{place}/p"))?;
        let package = serde_json::json!({ "name": "p", "version": "1.0.0", "scripts": { "x": script } });
        checkout.write("package.json", package.to_string())?.write("in", "one\n")?;
        Ok(checkout)
    };
    let (ours, real) = (make("ours")?, make("real")?);
    for (number, step) in std::iter::once(&"true").chain(steps).enumerate() {
        let behind = |e: anyhow::Error| e.context(format!("`{name}` behind step {number}, `{step}`"));
        for checkout in [&ours, &real] {
            checkout.sh(step).ok().map_err(behind)?;
        }
        let (wanted, had) = (npm::npm(&real, "x").run()?, npm::vrift(&ours, "x").run()?);
        ensure!(
            wanted.status.code() == had.status.code(),
            "`{name}` behind step {number}, `{step}`:\n{}\n{}",
            wanted.all(),
            had.all()
        );
        npm::same(&ours, &real).map_err(behind)?;
    }
    Ok(())
}

macro_rules! steered {
    ($($name:ident: $script:expr, [$($step:expr),* $(,)?];)*) => {
        $(
            #[test]
            fn $name() -> Result {
                compare(stringify!($name), $script, &[$($step),*])
            }
        )*
    };
}

steered! {
    sizes: "ls -l in | cut -d' ' -f5 > size; find . -name in -size -8c > small", [
        "echo longer than this > in",
        "true",
        "echo short > in",
        "true",
    ];
    a_file_put_in_place_by_a_rename:
        "node -e \"const said=fs.existsSync('state')?'again':'first';fs.writeFileSync('log',said);fs.writeFileSync('state.tmp','s');fs.renameSync('state.tmp','state')\"", [
        "true",
        "true",
        "rm state",
        "true",
    ];
    a_name_that_comes_by_a_rename: "mkdir -p gen; ls gen > list; echo 1 > gen/.t; mv gen/.t gen/a", [
        "mkdir -p gen",
        "true",
        "rm gen/a",
        "true",
    ];
    modes: "mkdir -p dist; cp in dist/out; [ -x in ] && echo yes > said || echo no > said", [
        "chmod +x in",
        "true",
        "chmod -x in",
        "true",
    ];
    a_folder_that_is_swept:
        "node -e \"fs.mkdirSync('tmp',{recursive:true});let n=0;for(const f of fs.readdirSync('tmp'))if(f.endsWith('.gen')){fs.unlinkSync('tmp/'+f);n++}try{fs.rmdirSync('tmp')}catch{}fs.writeFileSync('log',String(n))\"", [
        "mkdir -p tmp; touch tmp/a.gen",
        "mkdir -p tmp; touch tmp/a.gen tmp/precious",
        "mkdir -p tmp; touch tmp/a.gen tmp/b.gen",
        "rm -rf tmp",
    ];
    what_is_removed_unseen: "unlink stale && echo done > said", [
        "touch stale",
        "true",
        "touch stale",
    ];
    a_folder_that_is_not_empty: "rmdir maybe 2>/dev/null && echo gone > said || echo there > said", [
        "mkdir maybe; touch maybe/x",
        "true",
        "rm maybe/x",
        "true",
    ];
    a_folder_that_is_not_there_yet: "(echo x > logs/x) 2>/dev/null && echo yes > said || echo no > said", [
        "true",
        "mkdir logs",
        "true",
    ];
    folders_beside_the_project: "cat ../*/VERSION > versions 2>/dev/null || true", [
        "mkdir -p ../lib; echo 1 > ../lib/VERSION",
        "true",
        "mkdir -p ../other; echo 2 > ../other/VERSION",
    ];
    what_make_finds_up_to_date: "make -s", [
        "printf 'out: in\\n\\tcat in version > out\\n' > Makefile; echo 1 > version",
        "echo 2 > version",
        "touch -d '+2 seconds' in",
        "true",
    ];
}

/// Folders of the kernel say nothing about a project; shared memory is none of them.
#[test]
fn files_in_shared_memory() -> Result {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let at = dir.path().display();
    compare(
        "shared memory",
        &format!("cat {at}/in > out"),
        &[&format!("echo one > {at}/in"), "true", &format!("echo two > {at}/in")],
    )
}
