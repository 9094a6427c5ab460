//! The npm package: what people have who type `npm install vrift` and `npx vrift run build`.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, ensure};
use integration::Result;
use integration::checkout::Checkout;
use integration::env::{self, TestEnv};
use integration::npm::{self, is_hit, is_miss};
use integration::npm_package::{checkout, cmd, install, vrift};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

const MANIFEST: &str = r#"{
    "name": "app",
    "scripts": {
        "build": "node build.js",
        "say": "node -p 'process.argv.slice(1).join()'",
        "bad": "exit 7",
        "dies": "kill -TERM $$",
        "waits": "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done",
        "hangs": "echo ready; exec sleep 60"
    }
}"#;

const BUILD: &str = "const fs = require('fs'); fs.mkdirSync('dist', { recursive: true });
    fs.writeFileSync('dist/out', fs.readFileSync('in', 'utf8').toUpperCase()); console.log('built');";

fn prepared<'e>(env: &'e TestEnv, name: &str) -> Result<Checkout<'e>> {
    let app = checkout(env, name, MANIFEST)?;
    app.write("build.js", BUILD)?.write("in", "one")?;
    Ok(app)
}

#[test]
fn npx_builds_once() -> Result {
    env::as_root_and_user(|env| {
        let app = install(env, "app", MANIFEST)?;
        app.write("build.js", BUILD)?.write("in", "one")?;
        let npx = |words: &str| cmd(&app, "npx").arg("--no-install").args(words.split(' ')).run();
        let first = npx("vrift run build")?;
        is_miss(&first)?;
        ensure!(first.status.success() && app.read("dist/out")? == "ONE", "{}", first.all());
        app.sh("rm -r dist").ok()?;
        let second = npx("vrift run build")?;
        is_hit(&second)?;
        ensure!(second.stdout == first.stdout && app.read("dist/out")? == "ONE", "{}", second.all());
        // The program itself, without Node.
        app.sh("rm -r dist").ok()?;
        is_hit(&npx("vrift-native run build")?)?;
        ensure!(app.read("dist/out")? == "ONE");
        app.write("in", "two")?;
        is_miss(&npx("vrift run build")?)?;
        ensure!(app.read("dist/out")? == "TWO");
        ensure!(npx("vrift run bad")?.status.code() == Some(7));
        Ok(())
    })
}

#[test]
fn signals_and_statuses_come_through() -> Result {
    let env = TestEnv::new()?;
    let app = prepared(&env, "app")?;
    ensure!(vrift(&app, "run bad").run()?.status.code() == Some(7));
    let died = vrift(&app, "run dies").run()?;
    ensure!(died.status.signal() == Some(15), "{}: {}", died.status, died.all());
    let told = |script: &str, signal| -> Result<std::process::ExitStatus> {
        let mut running = vrift(&app, &format!("run {script}")).start()?;
        running.wait_for(Duration::from_secs(60), |said| said.contains("\nready"))?;
        // The launcher alone.
        kill(running.pid(), signal)?;
        Ok(running.wait()?.status)
    };
    ensure!(told("waits", Signal::SIGTERM)?.code() == Some(9));
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let status = told("hangs", signal)?;
        ensure!(status.signal() == Some(signal as i32), "{signal}: {status}");
    }
    Ok(())
}

/// The terminal sends it to everybody: nobody is to pass it on as well.
#[test]
fn a_script_gets_one_ctrl_c_for_one() -> Result {
    let env = TestEnv::new()?;
    let counts = r#"{"scripts": {"counts":
        "trap 'echo x >> count' INT; touch ready; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done; cat count"}}"#;
    let app = checkout(&env, "app", counts)?;
    let keys = "(while ! test -e ready; do sleep 0.05; done; printf '\\003'; sleep 3) | \
        script -qec 'node_modules/.bin/vrift run counts' /dev/null";
    let done = cmd(&app, "sh").args(["-c", keys]).run()?;
    ensure!(app.read("count")? == "x\n", "{}", done.all());
    Ok(())
}

#[test]
fn what_is_missing_or_does_not_fit_is_named() -> Result {
    let env = TestEnv::new()?;
    let app = prepared(&env, "app")?;
    let says = |done: integration::command::Done, status: i32, parts: &[&str]| -> Result {
        let lines = done.stderr.lines().count();
        ensure!(done.status.code() == Some(status) && lines == 1, "{}: {}", done.status, done.all());
        for part in parts {
            ensure!(done.stderr.contains(part), "no `{part}` in: {}", done.stderr);
        }
        Ok(())
    };
    // As a machine of another kind sees it.
    app.write("other.js", "Object.defineProperty(process, process.env.WHAT, { value: process.env.VALUE });")?;
    let other = |what: &str, value: &str| {
        let launcher = ["-r", "./other.js", "node_modules/vrift/bin/vrift.js", "run", "build"];
        cmd(&app, "node").args(launcher).env("WHAT", what).env("VALUE", value).run()
    };
    let supported = ["linux-arm64-gnu, linux-x64-gnu", "VRIFT_BINARY", "npm run"];
    says(other("arch", "s390x")?, 127, &[&["linux-s390x-gnu"], &supported[..]].concat())?;
    says(other("platform", "darwin")?, 127, &[&["darwin-"], &supported[..]].concat())?;

    // The kernel's answer where the loader is missing is the one of a machine without glibc.
    app.write("musl", "#!/no/such/loader\n")?.sh("chmod +x musl").ok()?;
    says(vrift(&app, "run build").env("VRIFT_BINARY", "musl").run()?, 126, &["needs glibc"])?;
    says(vrift(&app, "run build").env("VRIFT_BINARY", "none").run()?, 127, &["VRIFT_BINARY", "none"])?;
    says(vrift(&app, "run build").env("VRIFT_BINARY", "node_modules/.bin/vrift").run()?, 126, &["launcher"])?;

    let version = env!("CARGO_PKG_VERSION");
    app.sh(&format!("sed -i 's/\"{version}\"/\"0.0.7\"/' node_modules/@vrift/*/package.json")).ok()?;
    says(vrift(&app, "run build").run()?, 126, &["0.0.7", version, "npm install"])?;
    app.sh("rm -r node_modules/@vrift").ok()?;
    says(vrift(&app, "run build").run()?, 127, &["not installed", "npm install", "VRIFT_BINARY"])?;
    app.sh("mkdir -p node_modules/@vrift/linux-x64-gnu/bin node_modules/@vrift/linux-arm64-gnu/bin").ok()?;
    for name in ["x64", "arm64"] {
        let package = format!("node_modules/@vrift/linux-{name}-gnu");
        app.write(&format!("{package}/package.json"), format!("{{\n  \"version\": \"{version}\",\n  \"x\": 1\n}}"))?;
        app.write(&format!("{package}/bin/vrift"), "")?.sh(&format!("chmod +x {package}/bin/vrift")).ok()?;
    }
    says(vrift(&app, "run build").run()?, 126, &["is empty", "npm install"])?;
    ensure!(!app.path("dist").exists(), "something ran");

    let native = env.product().join("vrift");
    is_miss(&vrift(&app, "run build").env("VRIFT_BINARY", native).ok()?)?;
    Ok(())
}

/// The usual way to the native program takes neither Node nor any other program, wherever the project is and however the
/// launcher is called.
#[test]
fn the_launcher_needs_no_node() -> Result {
    let env = TestEnv::new()?;
    for name in ["plain", "it's a \"b\" $(x) *", "-n"] {
        let app = prepared(&env, name)?;
        let version = format!("vrift {} ", env!("CARGO_PKG_VERSION"));
        app.sh("ln -s node_modules/.bin/vrift linked; ln -s \"$PWD/node_modules/vrift\" package; mkdir none").ok()?;
        let whole = app.path("node_modules/.bin/vrift");
        let package = "package/bin/vrift".into();
        for (launcher, needs) in
            [("node_modules/.bin/vrift".into(), ""), (whole.into_os_string(), ""), (package, ""), ("./linked".into(), "readlink")]
        {
            if !needs.is_empty() {
                app.sh(&format!("ln -s $(command -v {needs}) none/")).ok()?;
            }
            let done =
                cmd(&app, "sh").args(["-c".into(), "PATH=$PWD/none; exec \"$0\" --version".into(), launcher.clone()]).ok()?;
            ensure!(done.stdout.starts_with(&version), "{launcher:?} in {name}: {}", done.all());
        }
        // By way of `PATH`, a folder that is named relatively.
        let said =
            cmd(&app, "sh").args(["-c", "cd node_modules; PATH=.bin vrift run --silent say -- 'a b' '*' '' \"it's\""]).run()?;
        ensure!(said.status.code() == Some(127), "without node there is no script: {}", said.all());
        let said = cmd(&app, "sh")
            .args(["-c", "cd node_modules; PATH=.bin:$PATH vrift run --silent say -- 'a b' '*' '' \"it's\""])
            .ok()?;
        ensure!(said.stdout == "a b,*,,it's\n", "{}", said.all());
    }
    Ok(())
}

#[test]
fn scripts_run_from_javascript() -> Result {
    let env = TestEnv::new()?;
    let app = prepared(&env, "app")?;
    app.write(
        "api.mjs",
        "import { run, version, binary } from 'vrift';
        const wanted = JSON.parse(process.argv[2]);
        if (wanted.abort) { wanted.options.signal = AbortSignal.timeout(wanted.abort); }
        const done = await run(wanted.script, wanted.options).catch((e) => ({ thrown: e.name, code: e.code ?? null }));
        console.log(JSON.stringify({ ...done, version: version(), binary: binary() }));",
    )?;
    let run = |wanted: Value| -> Result<Value> {
        let done = cmd(&app, "node").args(["api.mjs".to_owned(), wanted.to_string()]).ok()?;
        serde_json::from_str(done.stdout.lines().last().unwrap_or_default()).with_context(|| done.all())
    };
    let is = |found: &Value, expected: Value| -> Result {
        let expected = expected.as_object().context("an object")?;
        let differs = expected.iter().find(|(key, value)| found.get(*key).unwrap_or(&Value::Null) != *value);
        ensure!(differs.is_none(), "{differs:?} in {found}");
        Ok(())
    };
    let build = |options: Value| run(json!({ "script": "build", "options": options }));
    let first = build(json!({}))?;
    let version = env!("CARGO_PKG_VERSION");
    is(
        &first,
        json!({ "status": 0, "signal": null, "off": null, "hits": 0, "misses": 1, "uncached": 0, "stdout": null, "version": version }),
    )?;
    let native = std::path::Path::new(first["binary"].as_str().unwrap_or_default());
    ensure!(native.starts_with(app.path("node_modules/@vrift")) && native.is_file(), "{first}");
    let piped = build(json!({ "stdio": "pipe" }))?;
    is(&piped, json!({ "status": 0, "hits": 1, "misses": 0 }))?;
    ensure!(piped["stdout"].as_str().is_some_and(|text| text.ends_with("\nbuilt\n")), "{piped}");
    ensure!(piped["savedCpuMs"].as_f64().is_some_and(|saved| saved > 0.0), "{piped}");
    is(&build(json!({ "force": true }))?, json!({ "hits": 0, "misses": 1 }))?;
    app.write("in", "new")?;
    let dry = build(json!({ "stdio": "pipe", "dry": true }))?;
    ensure!(dry["stdout"].as_str().is_some_and(|text| text.contains(": miss, ")), "{dry}");
    ensure!(app.read("dist/out")? == "ONE");
    for _ in 0..2 {
        is(&build(json!({ "noStore": true }))?, json!({ "hits": 0, "misses": 0, "uncached": 1 }))?;
    }
    let off = run(json!({ "script": "build", "options": { "env": { "PATH": "/usr/bin:/bin", "VRIFT_DISABLE": "1" } } }))?;
    is(&off, json!({ "status": 0, "hits": 0, "misses": 0, "uncached": 0 }))?;
    ensure!(off["off"].is_string(), "{off}");

    let say =
        run(json!({ "script": "say", "options": { "args": ["a b", "--c", "$d"], "stdio": "pipe", "cwd": "node_modules/.." } }))?;
    ensure!(say["stdout"].as_str().is_some_and(|text| text.ends_with("\na b,--c,$d\n")), "{say}");
    let manifest = MANIFEST.replacen('{', "{ \"workspaces\": [\"packages/*\"],", 1);
    app.write("package.json", manifest)?;
    for name in ["one", "two"] {
        let package =
            format!("{{ \"name\": \"{name}\", \"version\": \"1.0.0\", \"scripts\": {{ \"part\": \"echo I am {name}\" }} }}");
        app.write(&format!("packages/{name}/package.json"), package)?;
    }
    for (workspaces, number) in [(json!(["two"]), 1), (json!(true), 2)] {
        let part = run(json!({ "script": "part", "options": { "workspaces": workspaces, "stdio": "pipe" } }))?;
        let said = part["stdout"].as_str().unwrap_or_default();
        ensure!(said.contains("\nI am two\n") && said.contains("\nI am one\n") == (number == 2), "{part}");
        let sum = ["hits", "misses", "uncached"].iter().filter_map(|key| part[key].as_u64()).sum::<u64>();
        ensure!(sum == number, "{part}");
    }

    is(&run(json!({ "script": "bad" }))?, json!({ "status": 7, "signal": null }))?;
    is(&run(json!({ "script": "dies" }))?, json!({ "status": null, "signal": "SIGTERM" }))?;
    is(&run(json!({ "script": "true" }))?, json!({ "status": 2 })).context("a program is no script")?;
    is(&run(json!({ "script": "--force" }))?, json!({ "thrown": "TypeError" }))?;
    let hangs = json!({ "script": "hangs", "options": {}, "abort": 500 });
    is(&run(hangs)?, json!({ "thrown": "TimeoutError" }))
}

#[test]
fn types_are_right() -> Result {
    let env = TestEnv::new()?;
    let app = checkout(&env, "app", r#"{"type": "module"}"#)?;
    let tools = npm::node_modules("library")?;
    let tsc = |lib: &str, text: &str| {
        app.write("use.ts", format!("import {{ run, version, binary, type RunResult }} from 'vrift';\n{text}"))?;
        let words = ["--noEmit", "--strict", "--target", "es2022", "--module", "node16", "--lib", lib, "use.ts"];
        cmd(&app, "node").arg(tools.join("typescript/bin/tsc")).args(words).run()
    };
    let right = tsc(
        "es2022,dom",
        "const done: RunResult = await run('build', { args: ['-x'], cwd: '.', workspaces: ['a'], env: { A: undefined }, signal: AbortSignal.timeout(1) });
        const numbers: number = done.hits + done.misses + done.uncached + (done.status ?? 1) + done.savedCpuMs;
        const text: string = version() + binary() + (done.off ?? '') + (done.stdout ?? '') + numbers;
        for (const [reason, n] of Object.entries(done.uncachedReasons)) text + reason + n.toFixed();",
    )?;
    ensure!(right.status.success(), "{}", right.all());
    // They need no types of a browser's or of Node's.
    let alone = tsc("es2022", "const done: RunResult = await run('build'); version() + binary() + done.status;")?;
    ensure!(alone.status.success(), "{}", alone.all());
    for wrong in ["run(1);", "run('a', { stdio: 'else' });", "(await run('a')).status.toFixed();", "run('a', { froce: true });"] {
        let done = tsc("es2022", &format!("export {{}}; {wrong} version; binary;"))?;
        ensure!(!done.status.success() && done.stdout.contains("use.ts(2,"), "{wrong}: {}", done.all());
    }
    Ok(())
}
