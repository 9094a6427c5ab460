//! What the key of an npm script must notice.

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::npm::{self, is_hit, is_miss};

/// A package `p` with these scripts.
fn package<'e>(env: &'e TestEnv, name: &str, scripts: &[(&str, &str)]) -> Result<Checkout<'e>> {
    let checkout = env.checkout(name)?;
    let scripts: serde_json::Map<String, serde_json::Value> =
        scripts.iter().map(|(name, script)| ((*name).to_owned(), (*script).into())).collect();
    checkout.write("package.json", serde_json::json!({ "name": "p", "version": "1.0.0", "scripts": scripts }).to_string())?;
    Ok(checkout)
}

/// A build that merges a chain of configurations, takes a module from `node_modules`, and looks for a file that may be there.
const BUILD: &str = r#"
const fs = require("fs");
const merge = (file) => { const own = JSON.parse(fs.readFileSync(file)); return { ...(own.extends ? merge(own.extends) : {}), ...own }; };
const extra = fs.existsSync(".env.production") ? fs.readFileSync(".env.production", "utf8") : "none";
fs.mkdirSync("dist", { recursive: true });
fs.writeFileSync("dist/out.json", JSON.stringify({ ...merge("conf.json"), dep: require("dep"), extra, mode: process.env.MODE }));
"#;

#[test]
fn configurations_dependencies_and_files_that_appear() -> Result {
    let env = TestEnv::new()?;
    let make = |name: &str| -> Result<Checkout<'_>> {
        let checkout = package(&env, name, &[("build", "node build.js")])?;
        checkout
            .write("build.js", BUILD)?
            .write("conf.json", r#"{"extends": "./base.json", "a": 1}"#)?
            .write("base.json", r#"{"b": 1}"#)?
            .write("package-lock.json", "{}")?
            .write("node_modules/dep/index.js", "module.exports = 1;\n")?;
        Ok(checkout)
    };
    let (ours, real) = (make("ours")?, make("real")?);
    is_miss(&npm::vrift(&ours, "build").ok()?)?;
    is_hit(&npm::vrift(&ours, "build").ok()?)?;
    for (path, text) in [
        ("node_modules/dep/index.js", "module.exports = 2;\n"),
        ("base.json", r#"{"b": 2}"#),
        (".env.production", "x"),
        ("conf.json", r#"{"a": 2}"#),
    ] {
        for checkout in [&ours, &real] {
            checkout.write(path, text)?;
        }
        npm::npm(&real, "build").ok()?;
        is_miss(&npm::vrift(&ours, "build").ok()?)?;
        npm::same(&ours, &real)?;
    }
    let with_mode = |mode: &str| npm::vrift(&ours, "build").env("MODE", mode).ok();
    is_miss(&with_mode("x")?)?;
    ensure!(ours.read("dist/out.json")?.contains(r#""mode":"x""#));
    // What says who builds, and where, and on which terminal, does not count.
    let quiet = [("TERM", "vt100"), ("COLUMNS", "99"), ("SSH_TTY", "x"), ("GITHUB_RUN_ID", "1"), ("USER", "u"), ("MODE", "x")];
    let noisy = quiet.iter().fold(npm::vrift(&ours, "build"), |cmd, (name, value)| cmd.env(*name, *value));
    is_hit(&noisy.ok()?)?;
    // Settings may say otherwise, for everybody who has the checkout.
    ours.write("vrift.toml", "[script]\nignore_env = ['MODE']\nwatch_env = ['USER']\n")?;
    is_miss(&with_mode("x")?)?;
    is_hit(&with_mode("y")?)?;
    is_miss(&npm::vrift(&ours, "build").env("USER", "other").ok()?)
}

/// A script's own earlier output is no input, as long as it only looks at it. These do more, or something else is there, too.
#[test]
fn what_a_script_finds_of_its_last_run() -> Result {
    let scripts = [
        ("append", "echo x >> log"),
        ("count", "node -e \"const f='n';let n=0;try{n=+fs.readFileSync(f)}catch{};fs.writeFileSync(f,String(n+1))\""),
        ("guarded", "node -e \"const f='g';fs.writeFileSync(f,String(fs.existsSync(f)?+fs.readFileSync(f)+1:0))\""),
        (
            "emptied",
            "node -e \"fs.rmSync('dist',{recursive:true,force:true});fs.mkdirSync('dist');fs.copyFileSync('in','dist/'+fs.readFileSync('in','utf8').trim())\"",
        ),
        ("kept", "mkdir -p kept && ls kept > names && cp in kept/$(cat in)"),
        (
            "moved",
            "node -e \"if(fs.existsSync('out'))fs.renameSync('out','out.old');fs.writeFileSync('out',fs.readFileSync('in'))\"",
        ),
    ];
    let env = TestEnv::new()?;
    for (name, _) in scripts {
        let make = |place: &str| -> Result<Checkout<'_>> {
            let checkout = package(&env, &format!("{name}/{place}"), &scripts)?;
            checkout.write("in", "one\n")?;
            Ok(checkout)
        };
        let (ours, real) = (make("ours")?, make("real")?);
        let steps = [
            "true",
            "true",
            "true",
            "echo two > in",
            "true",
            "echo one > in",
            "true",
            "mkdir -p dist kept; echo foreign > dist/foreign; echo foreign > kept/foreign",
            "true",
            "rm -rf dist kept",
            "true",
            "touch -d 2001-01-01 * */*",
        ];
        for (number, step) in steps.iter().enumerate() {
            for checkout in [&ours, &real] {
                checkout.cmd("sh").args(["-c", step]).run()?;
            }
            npm::npm(&real, name).ok()?;
            npm::vrift(&ours, name).ok()?;
            npm::same(&ours, &real).map_err(|e| e.context(format!("`{name}` behind step {number}, `{step}`")))?;
        }
    }
    Ok(())
}

/// What a script said to a terminal is not said to a file, and the other way round.
#[test]
fn whether_somebody_watches() -> Result {
    let env = TestEnv::new()?;
    let ours = package(
        &env,
        "a",
        &[("say", "node -e \"console.log(process.stdout.isTTY ? '\\\\x1b[32mgreen\\\\x1b[39m' : 'plain')\"")],
    )?;
    for _ in 0..2 {
        let plain = npm::vrift(&ours, "say").ok()?;
        ensure!(plain.stdout.ends_with("plain\n"), "{:?}", plain.stdout);
        let watched = ours.cmd("script").args(["-qec", "vrift run say", "/dev/null"]).ok()?;
        ensure!(watched.stdout.contains("\u{1b}[32mgreen"), "{:?}", watched.stdout);
    }
    is_hit(&npm::vrift(&ours, "say").ok()?)?;
    let watched = ours.cmd("script").args(["-qec", "vrift run say", "/dev/null"]).ok()?;
    ensure!(watched.stdout.contains("1 hit, 0 misses"), "{:?}", watched.stdout);
    Ok(())
}

/// What may have been read from standard input is not stored, and nothing is taken from whoever reads next.
#[test]
fn standard_input() -> Result {
    let env = TestEnv::new()?;
    let ours = package(&env, "a", &[("read", "read line; echo \"got $line\""), ("quiet", "echo said")])?;
    for word in ["one", "two"] {
        let done = ours.sh(&format!("echo {word} | vrift run read")).ok()?;
        ensure!(done.stdout.ends_with(&format!("got {word}\n")), "{}", done.all());
        let done = ours.sh(&format!("printf '{word}\\nrest\\n' > in; (vrift run read; cat) < in")).ok()?;
        ensure!(
            done.stdout.ends_with(&format!("got {word}\nrest\n")) || done.stdout.ends_with(&format!("got {word}\n")),
            "{}",
            done.all()
        );
        let done = ours.sh("printf 'rest\\n' | (vrift run quiet; cat)").ok()?;
        ensure!(done.stdout.ends_with("said\nrest\n"), "{}", done.all());
    }
    // Whoever opens it by its name has an offset of his own.
    let ours = package(&env, "b", &[("named", "node -e \"console.log(fs.readFileSync('/dev/stdin','utf8'))\"")])?;
    for word in ["one", "two"] {
        let done = ours.sh(&format!("echo {word} > in; vrift run named < in")).ok()?;
        ensure!(done.stdout.contains(word), "{}", done.all());
    }
    // The terminal is there without being standard input.
    let ours = package(&env, "e", &[("asks", "read line < /dev/tty; echo \"got $line\"")])?;
    for word in ["one", "two"] {
        let done =
            ours.sh(&format!("(sleep 0.5; echo {word}; sleep 1) | script -qec 'vrift run asks < /dev/null' /dev/null")).ok()?;
        ensure!(done.stdout.contains(&format!("got {word}")), "{}", done.all());
    }
    // Who keeps a pipe open may answer later. What he says behind that is for whoever reads next.
    let ours = package(&env, "c", &[("ask", "read line; echo \"got $line\""), ("quiet", "sleep 0.5; echo said")])?;
    for word in ["one", "two"] {
        let done = ours.sh(&format!("(sleep 0.3; echo {word}; sleep 1) | vrift run ask")).ok()?;
        ensure!(done.stdout.ends_with(&format!("got {word}\n")), "{}", done.all());
        let done = ours.sh("(sleep 0.3; echo rest; sleep 1) | (vrift run quiet; cat)").ok()?;
        ensure!(done.stdout.ends_with("said\nrest\n"), "{}", done.all());
    }
    // A pipe that nobody writes to, as many who start builds leave it.
    let ours = package(&env, "d", &[("quiet", "echo said")])?;
    let idle = "mkfifo p; sleep 30 > p & vrift run quiet < p; kill $!; rm p";
    ours.sh(idle).ok()?;
    let again = ours.sh(idle).ok()?;
    ensure!(again.all().contains("1 hit, 0 misses"), "{}", again.all());
    Ok(())
}

/// An ordinary user may come upon folders and files of others: of `su`'s old `PATH`, say.
#[test]
fn what_may_not_be_read() -> Result {
    let Some(env) = TestEnv::as_user()? else { return Ok(()) };
    let script = "(cat closed/x || echo none) > said; (cat secret || echo none) > told; test -e closed/x || echo unseen >> said";
    let make = |place: &str| -> Result<Checkout<'_>> {
        let checkout = package(&env, &format!("{place}/p"), &[("x", script)])?;
        checkout.write("package-lock.json", "{}")?.write("closed/x", "x\n")?.write("secret", "secret\n")?;
        checkout.sh("chmod 0 secret closed").ok()?;
        Ok(checkout)
    };
    let (ours, real) = (make("ours")?, make("real")?);
    let vrift = || npm::vrift(&ours, "x").path_first(&ours.path("closed")).ok();
    is_miss(&vrift()?)?;
    is_hit(&vrift()?)?;
    let open = ["chmod 755 closed", "chmod 644 secret", "chmod 0 closed; mv closed gone", "mv gone closed; chmod 755 closed"];
    for step in open {
        for checkout in [&ours, &real] {
            checkout.sh(step).ok()?;
        }
        npm::npm(&real, "x").path_first(&real.path("closed")).ok()?;
        vrift()?;
        ensure!(ours.read("said")? == real.read("said")? && ours.read("told")? == real.read("told")?, "{step}");
    }
    ours.sh("chmod 0 secret closed").ok()?;
    is_hit(&vrift()?)?;
    ensure!(ours.read("said")? == "none\nunseen\n" && ours.read("told")? == "none\n");
    ours.sh("chmod 755 closed").ok()?;
    Ok(())
}
