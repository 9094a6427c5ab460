//! What C and C++ builds cost under vrift, plain, and under ccache: the first build with nothing stored, and the same in another
//! checkout. Configured, compiled, archived and linked.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::ensure;
use integration::bench::{Options, Report, Series, measure, millis, ratio, seconds};
use integration::checkout::Checkout;
use integration::command::Cmd;
use integration::env::TestEnv;
use integration::native::{self, Native};
use integration::{Result, host};

/// A way to build.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Vrift,
    /// As its manual says for several checkouts: `base_dir`, no folder in the hash.
    Ccache,
}

impl Way {
    fn cmd(self, checkout: &Checkout<'_>, project: &Native) -> Cmd {
        let script = format!("{}\n{}", project.configure, project.build);
        let cmd = Native::cmd(checkout, &script, self == Self::Vrift);
        match self {
            Self::Plain | Self::Vrift => cmd,
            Self::Ccache => cmd
                .path_first("/usr/lib/ccache".as_ref())
                .env("CCACHE_DIR", ccache_dir(checkout))
                .env("CCACHE_BASEDIR", checkout.dir())
                .env("CCACHE_NOHASHDIR", "1"),
        }
    }

    /// ccache itself, about its store.
    fn ccache(self, checkout: &Checkout<'_>, option: &str) -> Cmd {
        checkout.cmd("ccache").arg(option).env("CCACHE_DIR", ccache_dir(checkout))
    }
}

fn ccache_dir(checkout: &Checkout<'_>) -> PathBuf {
    checkout.env().path().join("ccache")
}

/// How many of ccache's look-ups were hits, so that the comparison is known to be one with a ccache that works.
fn ccache_hits(stats: &str) -> String {
    let count = |name: &str| -> u64 {
        stats
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .find(|(key, _)| *key == name)
            .map_or(0, |(_, n)| n.parse().unwrap_or(0))
    };
    let hits = count("direct_cache_hit") + count("preprocessed_cache_hit");
    format!("{hits} hits, {} misses", count("cache_miss"))
}

fn main() -> Result {
    let options = Options::from_args()?;
    let project = match options.project.as_deref().unwrap_or("zlib") {
        "zlib" => native::zlib()?,
        "lua" => native::lua()?,
        "gawk" => native::gawk()?,
        "fribidi" => native::fribidi()?,
        "yaml-cpp" => native::yaml_cpp()?,
        other => anyhow::bail!("no project `{other}`; there are zlib, lua, gawk, fribidi and yaml-cpp"),
    };
    let runs = options.runs.unwrap_or(3).max(1);
    let mut ways = vec![Way::Plain, Way::Vrift];
    if host::has_program("ccache") {
        ways.push(Way::Ccache);
    }
    let (mut first, mut second) = ([const { Series(Vec::new()) }; 3], [const { Series(Vec::new()) }; 3]);
    let (mut summary, mut hits) = (String::new(), String::new());
    for run in 0..runs {
        eprintln!("run {} of {runs} …", run + 1);
        // One of each in turn, so that a machine that slows down slows all; another one begins each time.
        for turn in 0..ways.len() {
            let way = ways[(run + turn) % ways.len()];
            let env = TestEnv::new()?;
            let one = env.checkout_of(&project.sources, "one")?;
            first[way as usize].push(measure(&env, &way.cmd(&one, &project))?.1);
            if way != Way::Plain {
                if way == Way::Ccache {
                    way.ccache(&one, "--zero-stats").ok()?;
                }
                let two = env.checkout_of(&project.sources, "another/place")?;
                let (done, cost) = measure(&env, &way.cmd(&two, &project))?;
                second[way as usize].push(cost);
                two.sh(project.is_done).ok()?;
                if way == Way::Ccache {
                    hits = ccache_hits(&way.ccache(&two, "--print-stats").ok()?.stdout);
                } else {
                    // The build's own line, and not that of the configure script before it.
                    summary = done.stderr.lines().rfind(|line| line.starts_with("vrift: ")).unwrap_or_default().to_owned();
                }
            }
        }
    }
    let [plain, ours, theirs] = &first;
    let [_, our_second, their_second] = &second;
    let mut report = Report::new("bench-c-builds", format!("{}, configured and built with two jobs", project.name));
    report
        .row("plain", seconds(plain.wall()), format!("{} of processor time; median of {runs}", seconds(plain.cpu())))
        .row("vrift, first", seconds(ours.wall()), format!("{} of plain; the aim is 1.05 ×", ratio(ours.wall(), plain.wall())))
        .row("vrift, first, processor time", seconds(ours.cpu()), format!("{} of plain", ratio(ours.cpu(), plain.cpu())))
        .row(
            "vrift, another checkout",
            millis(our_second.wall()),
            format!("{} of plain, the aim is 0.1 × for zlib and lua; {summary}", ratio(our_second.wall(), plain.wall())),
        );
    if ways.contains(&Way::Ccache) {
        ensure!(!their_second.0.is_empty(), "ccache did not run");
        report
            .row("ccache, first", seconds(theirs.wall()), format!("{} of plain", ratio(theirs.wall(), plain.wall())))
            .row("ccache, another checkout", millis(their_second.wall()), format!("base_dir set, no folder in the hash; {hits}"))
            .row("vrift of ccache, another checkout", ratio(our_second.wall(), their_second.wall()), "below 1 is the aim");
    }
    for (name, series) in [
        ("plain", plain),
        ("vrift_first", ours),
        ("vrift_second", our_second),
        ("ccache_first", theirs),
        ("ccache_second", their_second),
    ] {
        report.data(&format!("{name}_wall_ms"), series.walls_ms()).data(&format!("{name}_cpu_ms"), series.cpus_ms());
    }
    report.finish(options.save)
}
