//! Scripts of real JavaScript projects: whatever may have happened in a checkout, what is there afterwards is what `npm run`
//! leaves in one where the same happened; and where nothing did that counts, nothing ran.

use anyhow::{Context, ensure};
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::npm::{self, is_hit, is_miss};
use integration::steps::Steps;

/// A change that counts.
#[derive(Clone, Copy)]
struct Change {
    /// For people.
    name: &'static str,
    /// Does it, in a shell.
    script: &'static str,
    /// A variable that is set from then on.
    var: Option<(&'static str, &'static str)>,
}

const fn change(name: &'static str, script: &'static str) -> Change {
    Change { name, script, var: None }
}

fn scenario(fixture: &str, script: &str, clean: &str, changes: &[Change]) -> Result {
    scenario_behind(1, fixture, script, clean, changes)
}

/// With that many runs in a new folder until the script's own output tells it nothing new.
fn scenario_behind(runs: usize, fixture: &str, script: &str, clean: &str, changes: &[Change]) -> Result {
    let env = TestEnv::new()?;
    let ours = npm::checkout(&env, fixture, "ours")?;
    let real = npm::checkout(&env, fixture, "plain/real")?;
    let vrift = |checkout: &Checkout<'_>| npm::vrift(checkout, script).ok();
    npm::npm(&real, script).ok()?;
    let mut first = vrift(&ours)?;
    is_miss(&first).context("the first run")?;
    npm::same(&ours, &real)?;
    for _ in 1..runs {
        first = vrift(&ours)?;
        npm::same(&ours, &real)?;
    }
    let mut steps = Steps::default();
    steps.step("a second run in the same folder", || {
        let second = vrift(&ours)?;
        is_hit(&second)?;
        ensure!(second.stdout == first.stdout, "it said another thing:\n{}\n{}", first.stdout, second.stdout);
        npm::same(&ours, &real)
    });
    steps.step("a clone at another path", || {
        let clone = npm::checkout(&env, fixture, "another/place/clone")?;
        is_hit(&vrift(&clone)?)?;
        npm::same(&clone, &real)
    });
    steps.step("what was built is removed", || {
        ours.sh(clean).ok()?;
        is_hit(&vrift(&ours)?)?;
        npm::same(&ours, &real)
    });
    steps.step("every file is touched", || {
        ours.sh("find . -path ./node_modules -prune -o -type f -exec touch {} +").ok()?;
        is_hit(&vrift(&ours)?)?;
        npm::same(&ours, &real)
    });
    let mut vars = Vec::new();
    for change in changes {
        vars.extend(change.var);
        steps.step(change.name, || {
            let with = |cmd| vars.iter().fold(cmd, |cmd: integration::command::Cmd, (name, value)| cmd.env(*name, *value));
            for checkout in [&ours, &real] {
                checkout.sh(change.script).ok()?;
            }
            with(npm::npm(&real, script)).ok()?;
            is_miss(&with(npm::vrift(&ours, script)).ok()?)?;
            npm::same(&ours, &real)?;
            with(npm::vrift(&ours, script)).ok()?;
            is_hit(&with(npm::vrift(&ours, script)).ok()?).context("again")?;
            npm::same(&ours, &real)
        });
    }
    steps.finish()
}

#[test]
fn a_library_built_with_tsc_and_rollup() -> Result {
    let changes = [
        change("a source changes", "sed -i 's/\"one\"/\"two\"/' src/word.ts"),
        change("a source is added", "echo 'export const more = 1;' > src/more.ts"),
        change("a base configuration changes", "sed -i 's/es2022/es2020/' tsconfig.base.json"),
        change("a dependency is edited", "echo '// edited' >> node_modules/rollup/dist/shared/rollup.js"),
        change("a file that was missing appears", "echo '{ \"type\": \"module\" }' > src/package.json"),
        Change { name: "a variable changes", script: "true", var: Some(("NODE_ENV", "production")) },
    ];
    scenario("library", "build", "rm -rf dist", &changes)
}

#[test]
fn a_bundle_of_webpack_with_a_cache_on_disk() -> Result {
    let changes = [
        change("a source changes", "sed -i 's/one/two/' src/word.js"),
        change("the configuration changes", "sed -i 's/source-map/hidden-source-map/' webpack.config.js"),
        Change { name: "a variable changes", script: "true", var: Some(("NODE_OPTIONS", "--no-deprecation")) },
    ];
    scenario("bundle", "build", "rm -rf dist", &changes)
}

/// TypeScript 7 is a static program in Go, and Vite's bundler a library in Rust that calls the kernel past libc.
#[test]
fn an_app_of_vite_react_and_typescript() -> Result {
    let changes = [
        change("a source changes", "sed -i 's/Get started/Get going/' src/App.tsx"),
        change("a configuration file appears", "echo 'VITE_X=1' > .env.production"),
    ];
    scenario("vite", "build", "rm -rf dist", &changes)
}

#[test]
fn a_workspace_of_tsc_with_references() -> Result {
    let changes = [
        change("a source changes", "sed -i 's/\"one\"/\"two\"/' packages/core/src/index.ts"),
        change("a configuration changes", "sed -i 's/es2022/es2020/' packages/app/tsconfig.json"),
    ];
    scenario("workspace", "build", "rm -rf packages/*/dist packages/*/*.tsbuildinfo", &changes)
}

/// What npm alone has left there, nobody knows: each of these tools writes anew what it finds of an earlier run.
#[test]
fn checkouts_that_were_built_before_vrift_came() -> Result {
    for fixture in ["vite", "workspace"] {
        let env = TestEnv::new()?;
        let built = |place: &str| -> Result<Checkout<'_>> {
            let checkout = npm::checkout(&env, fixture, place)?;
            npm::npm(&checkout, "build").ok()?;
            Ok(checkout)
        };
        let (ours, real) = (built("ours")?, built("real")?);
        let vrift = || npm::vrift(&ours, "build").ok();
        // What it changes is known from the second run on, and from the third on it changes nothing.
        for _ in 0..3 {
            vrift()?;
            npm::same(&ours, &real)?;
        }
        is_hit(&vrift()?).context(fixture)?;
        for script in
            ["sed -i '1i // edited' $(find src packages/*/src -name '*.ts*' 2> /dev/null)", "rm -rf dist packages/*/dist"]
        {
            for checkout in [&ours, &real] {
                checkout.sh(script).ok()?;
            }
            npm::npm(&real, "build").ok()?;
            vrift()?;
            npm::same(&ours, &real).context(script)?;
        }
        vrift()?;
        is_hit(&vrift()?).context("again")?;
        npm::same(&ours, &real)?;
    }
    Ok(())
}

/// Static programs, started from a script, and below Node.
#[test]
fn bundles_of_esbuild() -> Result {
    let sources = [
        change("a source changes", "sed -i 's/one/two/' src/word.ts"),
        change(
            "a configuration file appears",
            "echo '{ \"compilerOptions\": { \"useDefineForClassFields\": false } }' > src/tsconfig.json",
        ),
        change("that file changes", "echo '{ \"compilerOptions\": { \"target\": \"es2017\" } }' > src/tsconfig.json"),
    ];
    scenario("packed", "single", "rm -rf out", &sources)?;
    let more = [
        change("the program's own source changes", "sed -i 's/splitting: true/splitting: false/' bundle.mjs"),
        Change { name: "a variable changes", script: "true", var: Some(("NODE_ENV", "production")) },
        change("a dependency is edited", "echo '// edited' >> node_modules/esbuild/lib/main.js"),
    ];
    scenario("packed", "bundle", "rm -rf out", &[&sources[..2], &more].concat())
}

/// It lists its output folder while it fills it, so what it finds there the second time is another case of its own.
#[test]
fn a_library_built_with_tsup() -> Result {
    let changes = [
        change("a source changes", "sed -i 's/one/two/' src/word.ts"),
        change("the configuration changes", "sed -i 's/sourcemap: true/sourcemap: false/' tsup.config.ts"),
        change("the compiler's configuration changes", "sed -i 's/es2022/es2019/' tsconfig.json"),
        Change { name: "a variable changes", script: "true", var: Some(("NODE_OPTIONS", "--no-deprecation")) },
    ];
    scenario_behind(2, "packed", "build", "rm -rf dist", &changes)
}

/// It writes nothing but a cache with times in it, and asks what this machine is called.
#[test]
fn tests_of_vitest() -> Result {
    let changes = [
        change("a source changes", "sed -i 's/one/two/' src/sum.ts"),
        change("a test changes", "echo \"test('more', () => {});\" >> test/sum.test.ts"),
        change("a file that a test reads changes", "echo four >> test/words.txt"),
        change("a test is added", "echo \"import { test } from 'vitest'; test('new', () => {});\" > test/new.test.ts"),
        change("the configuration changes", "sed -i \"s/test: {/test: { sequence: { shuffle: false },/\" vitest.config.ts"),
        change("a configuration file appears", "echo 'VITE_X=1' > .env.test"),
        change("a dependency is edited", "echo '// edited' >> node_modules/vitest/dist/cli.js"),
        Change { name: "a variable changes", script: "true", var: Some(("NODE_ENV", "production")) },
    ];
    scenario("tested", "test", "true", &changes)?;
    let env = TestEnv::new()?;
    let ours = npm::checkout(&env, "tested", "ours")?;
    npm::npm(&ours, "test").ok()?;
    is_miss(&npm::vrift(&ours, "test").ok()?)?;
    let broken = |ours: &Checkout<'_>| Ok::<_, anyhow::Error>(npm::vrift(ours, "test").fails()?.status.code());
    ours.sh("sed -i 's/toBe(6)/toBe(7)/' test/sum.test.ts").ok()?;
    ensure!(broken(&ours)? == Some(1) && broken(&ours)? == Some(1));
    ours.sh("sed -i 's/toBe(7)/toBe(6)/' test/sum.test.ts").ok()?;
    is_hit(&npm::vrift(&ours, "test").ok()?)
}

/// It writes nothing but a cache; what it says is what counts.
#[test]
fn a_linter() -> Result {
    let env = TestEnv::new()?;
    let ours = npm::checkout(&env, "library", "a")?;
    let first = npm::vrift(&ours, "lint").ok()?;
    is_miss(&first)?;
    ensure!(first.stdout.contains("no-var"), "{}", first.all());
    for name in ["a", "b/c"] {
        let checkout = if name == "a" { npm::checkout(&env, "library", "d")? } else { npm::checkout(&env, "library", name)? };
        let again = npm::vrift(&checkout, "lint").ok()?;
        is_hit(&again)?;
        let here = |text: &str, dir: &Checkout<'_>| text.replace(&*dir.dir().to_string_lossy(), "{here}");
        ensure!(here(&again.stdout, &checkout) == here(&first.stdout, &ours), "{}\n{}", first.stdout, again.stdout);
    }
    ours.sh("sed -i 's/\"warn\"/\"error\"/' eslint.config.js").ok()?;
    ensure!(npm::vrift(&ours, "lint").fails()?.status.code() == Some(1));
    Ok(())
}

/// What the compiler keeps beside its output steers what it writes: it must never be taken for a cache.
#[test]
fn incremental_compilation() -> Result {
    let env = TestEnv::new()?;
    let ours = npm::checkout(&env, "library", "ours")?;
    let real = npm::checkout(&env, "library", "real")?;
    let both = |what: &str| -> Result {
        for checkout in [&ours, &real] {
            checkout.sh(what).ok()?;
        }
        npm::npm(&real, "incremental").ok()?;
        npm::vrift(&ours, "incremental").ok()?;
        npm::same(&ours, &real).with_context(|| what.to_owned())
    };
    both("true")?;
    is_hit(&npm::vrift(&ours, "incremental").ok()?)?;
    for what in ["sed -i 's/one/two/' src/word.ts", "true", "sed -i 's/two/one/' src/word.ts", "echo '//' >> dist/types/word.js"]
    {
        both(what)?;
    }
    Ok(())
}
