//! What programs that look at many files gain from the VDir: each runs under the shim and without it, in turn; what it says
//! must be the same.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use integration::Result;
use integration::bench::{Options, Report, median, millis};
use integration::checkout::Checkout;
use integration::command::Cmd;
use integration::differential::wait_for_vdir;
use integration::env::TestEnv;
use integration::npm;

/// Runs a command whenever it reads a line, and tells its exit status and microseconds. What the front end of vrift takes to
/// start is no part of what is measured.
const DRIVER: &str = r#"while read -r _; do from=$EPOCHREALTIME; "${@:2}" >"$1" 2>"$1.err" </dev/null; status=$?; to=$EPOCHREALTIME
echo "$status $((${to/./} - ${from/./}))"; done"#;

/// Programs whose lines come in another order each time.
const IN_ANY_ORDER: [&str; 2] = ["cargo", "rg"];

/// Runs before those that count.
const WARM: usize = 6;

/// Packages below `node_modules`, each in a folder of the one before.
const PACKAGES: usize = 400;

fn main() -> Result {
    let options = Options::from_args()?;
    let runs = options.runs.unwrap_or(21).max(3);
    let source = options.project("ripgrep")?;
    let env = TestEnv::new()?;
    let project = env.checkout_of(&source.sources, "project")?;
    eprintln!("building {} …", source.name);
    project.cargo("build").ok()?;
    let rg = env.path().join("rg");
    std::fs::copy(project.path("target/debug").join(source.program), &rg)?;
    node_app(&project)?;
    project.write(".gitignore", "target\n.vrift\n")?;
    project.sh("git init -q && git add -A && git commit -qm x").ok()?;
    // A build script that names nothing depends on each file of its package, and there are new ones.
    project.cargo("build").ok()?;
    wait_for_vdir(&env, project.dir())?;

    let mut commands: Vec<(&str, Vec<OsString>)> = vec![
        ("cargo build, nothing to do", words("cargo build --message-format=json")),
        ("git status", words("git status --porcelain=v2")),
        ("find", words("find . -type f -size +0")),
    ];
    if source.program == "rg" {
        commands.push(("rg --files", vec![rg.into_os_string(), "--files".into(), "--hidden".into()]));
    }
    commands.push(("node, an app of 400 packages", words("node app.js")));
    if let Some(command) = compiler(&env, &project)? {
        commands.push(("C preprocessor, headers in the last of 40 folders", command));
    }
    let mut jobs: Vec<_> = commands.into_iter().map(|(name, command)| (&project, name, command)).collect();
    let library = npm::checkout(&env, "library", "library")?;
    wait_for_vdir(&env, library.dir())?;
    jobs.push((&library, "tsc", words("node node_modules/typescript/bin/tsc -p . --noEmit")));
    jobs.push((&library, "eslint", words("node node_modules/eslint/bin/eslint.js src")));
    let mut report = Report::new("bench-vdir-programs", format!("Programs that look at many files, in {}", source.name));
    for (project, name, command) in jobs {
        let times = compare(&env, project, name, &command, runs)?;
        let [plain, without, shim] = [0, 1, 2].map(|which: usize| median(times[which].clone()));
        let of_plain = |which: usize| of_pairs(&times[which], &times[0]);
        report
            .row(format!("{name}: alone"), millis(plain), format!("median of {runs}"))
            .row(format!("{name}: under the shim"), millis(shim), "the same output and exit status")
            .row(
                format!("{name}: of that"),
                format!("{:.3} ×", of_plain(2)),
                "median of each round's ratio; at most 1.02 × is the aim",
            )
            .row(format!("{name}: without the map of shared trees"), format!("{:.3} ×", of_plain(1)), millis(without));
        let key = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        report.data(&format!("{key}_alone_ms"), plain.as_secs_f64() * 1e3);
        report.data(&format!("{key}_shim_ms"), shim.as_secs_f64() * 1e3);
        report.data(&format!("{key}_without_base_ms"), without.as_secs_f64() * 1e3);
        report.data(&format!("{key}_ratio"), of_plain(2));
    }
    report.finish(options.save)
}

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

/// An app with many small packages: what is looked for is rarely where it is looked for first.
fn node_app(project: &Checkout<'_>) -> Result {
    let mut app = String::from("let sum = 0;\n");
    for n in 0..PACKAGES {
        let dir = format!("node_modules/scope-{}/node_modules/package-{n}", n % 20);
        project.write(&format!("{dir}/package.json"), format!("{{\"name\": \"package-{n}\", \"main\": \"./lib\"}}\n"))?;
        project.write(&format!("{dir}/lib/index.js"), "module.exports = require('./a') + require('./b');\n")?;
        project.write(&format!("{dir}/lib/a.js"), format!("module.exports = {n};\n"))?;
        project.write(&format!("{dir}/lib/b/index.js"), "module.exports = 1;\n")?;
        app += &format!("sum += require('./{dir}');\n");
    }
    project.write("app.js", app + "console.log(sum);\n")?;
    Ok(())
}

/// GCC's compiler proper, by a name that makes it no action, on a source whose headers are looked for in many folders of
/// `/usr/include` that do not have them; `None` where there is no GCC.
fn compiler(env: &TestEnv, project: &Checkout<'_>) -> Result<Option<Vec<OsString>>> {
    const FOLDERS: usize = 40;
    const HEADERS: [&str; 40] = [
        "aio", "alloca", "argp", "assert", "byteswap", "complex", "cpio", "ctype", "dirent", "dlfcn", "elf", "endian", "envz",
        "err", "errno", "error", "fcntl", "features", "fenv", "fnmatch", "ftw", "getopt", "glob", "grp", "iconv", "inttypes",
        "langinfo", "libgen", "limits", "locale", "math", "mntent", "netdb", "poll", "pthread", "pwd", "regex", "sched",
        "search", "stdio",
    ];
    let asked = project.cmd("gcc").arg("-print-prog-name=cc1").run()?;
    let program = asked.stdout.trim().to_owned();
    if !asked.status.success() || !program.starts_with('/') {
        return Ok(None);
    }
    let copy = env.path().join("preprocess");
    std::fs::copy(&program, &copy)?;
    let machine = project.cmd("gcc").arg("-print-multiarch").ok()?.stdout.trim().to_owned();
    let mut command: Vec<OsString> = vec![copy.into(), "-quiet".into(), "-E".into(), "-P".into()];
    command.extend(["-imultiarch".into(), machine.into()]);
    let folders = walkdir::WalkDir::new("/usr/include").min_depth(1).sort_by_file_name().into_iter().flatten();
    let lacks = |folder: &std::path::Path| HEADERS.iter().all(|name| !folder.join(format!("{name}.h")).exists());
    let folders = folders.filter(|entry| entry.file_type().is_dir() && lacks(entry.path())).take(FOLDERS);
    folders.for_each(|folder| command.extend(["-I".into(), folder.into_path().into_os_string()]));
    project.write("headers.c", HEADERS.map(|name| format!("#include <{name}.h>\n")).concat())?;
    command.push("headers.c".into());
    Ok(Some(command))
}

/// The median of the ratios of runs that came one right after the other: what else the machine does meanwhile moves both.
fn of_pairs(these: &[Duration], those: &[Duration]) -> f64 {
    let mut ratios: Vec<f64> = these.iter().zip(those).map(|(this, that)| this.as_secs_f64() / that.as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// Times alone, under the shim without the map of shared trees, and with it, round by round.
fn compare(env: &TestEnv, project: &Checkout<'_>, name: &str, command: &[OsString], runs: usize) -> Result<[Vec<Duration>; 3]> {
    let outputs = ["plain.out", "without.out", "shim.out"].map(|name| env.path().join(name));
    let driver = |output: &PathBuf| {
        let first = ["-c".into(), DRIVER.into(), "driver".into(), output.clone().into_os_string()];
        first.into_iter().chain(command.iter().cloned()).collect::<Vec<OsString>>()
    };
    let under = |output| Driver::start(&project.cmd("vrift").args(["run", "--", "bash"]).args(driver(output)));
    let base = |on: &str| project.cmd("vrift").args(["config", "set", "vdir.base", on]).ok();
    // Whether there is such a map, a front end tells its programs when it starts them.
    base("false")?;
    let mut without = under(&outputs[1])?;
    without.run()?;
    base("true")?;
    let mut drivers = [Driver::start(&project.cmd("bash").args(driver(&outputs[0])))?, without, under(&outputs[2])?];
    let mut times = [const { Vec::new() }; 3];
    for run in 0..runs + WARM {
        let mut said = Vec::new();
        for which in [run % 3, (run + 1) % 3, (run + 2) % 3] {
            let (status, time) = drivers[which].run()?;
            let mut output: Vec<_> = std::fs::read(&outputs[which])?.split(|c| *c == b'\n').map(<[u8]>::to_vec).collect();
            // Cargo and rg have threads, and tell of each thing when its thread is done with it.
            if IN_ANY_ORDER.iter().any(|program| name.starts_with(program)) {
                output.sort();
            }
            said.push((which, status, output));
            // The first ones warm caches, and ask the keeper for what they need.
            if run >= WARM {
                times[which].push(time);
            } else {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        said.sort_by_key(|(which, _, _)| *which);
        let Some(((_, plain_status, plain), shims)) = said.split_first() else { continue };
        for (_, status, output) in shims {
            ensure!(plain_status == status, "{name}: exit status {plain_status}, and {status} under the shim");
            ensure!(plain == output, "{name}: another output under the shim, see `{}`", env.path().display());
        }
        ensure!(*plain_status == 0, "{name} fails");
    }
    let [without, shim] = [1, 2].map(|which: usize| of_pairs(&times[which], &times[0]));
    eprintln!("{name}: {shim:.3} × under the shim, {without:.3} × without the map of shared trees");
    Ok(times)
}

/// A shell that runs the command when it is told to.
struct Driver {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Driver {
    fn start(cmd: &Cmd) -> Result<Self> {
        let mut child = cmd.to_std().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, orders, answers })
    }

    fn run(&mut self) -> Result<(i32, Duration)> {
        writeln!(self.orders.as_mut().context("no pipe")?)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let (status, micros) = line.trim().split_once(' ').with_context(|| format!("the driver says `{line}`"))?;
        Ok((status.parse()?, Duration::from_micros(micros.parse()?)))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
    }
}
