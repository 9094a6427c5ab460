//! What it costs that the kernel reports the calls of programs that no preload reaches: one call, and a bundler's whole run.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Context, ensure};
use integration::Result;
use integration::bench::{Options, Report, median, ratio};
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::{npm_registry, small};

/// Opens files that are not there, each by another name or all by one, and prints the nanoseconds that one takes.
const OPENS: &str = "#include <fcntl.h>\n#include <stdio.h>\n#include <time.h>\nint main(void) {\n\
    struct timespec a, b; char p[64]; int n = 20000;\n clock_gettime(CLOCK_MONOTONIC, &a);\n\
    for (int i = 0; i < n; i++) { sprintf(p, \"/none/%d\", i % 2000); open(p, O_RDONLY); }\n\
    clock_gettime(CLOCK_MONOTONIC, &b);\n\
    printf(\"%ld\\n\", ((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec) / n); return 0; }\n";

fn main() -> Result {
    let options = Options::from_args()?;
    let runs = options.runs.unwrap_or(15).max(3);
    let env = TestEnv::new()?;
    let place = env.checkout("a")?;
    let opens = small::c_program(&place, "opens", OPENS, "-O2 -static")?;
    let esbuild = npm_registry::package(
        "@esbuild/linux-x64",
        "0.25.5",
        "95a928d8187c6f7ad632a3f3bbf01f66dfd5b5adb724b8bfeec5fff73ff2d91a",
    )?
    .join("bin/esbuild");
    let library =
        npm_registry::package("lodash-es", "4.17.21", "777598ac703f02b403ef678cd11bce2150ad788f35c774ea7c9cc241a892cb7b")?;
    place
        .write("Makefile", "all:\n\t./gen\n")?
        .write(".vrift/config.toml", "[exec]\nactions = ['gen']\n")?
        .write("src/all.js", "export * from 'lodash-es';\n")?
        .write(
            "gen",
            format!(
                "#!/bin/sh\n{opens} > out/opens\na=$(date +%s%N)\n{} src/all.js --bundle --minify --outfile=out/all.js --log-level=error\n\
                 b=$(date +%s%N)\necho $((b - a)) > out/bundle\n",
                esbuild.display()
            ),
        )?
        .sh("chmod +x gen; chmod 700 .vrift; mkdir out")
        .ok()?;
    integration::user::copy_tree(&library, &place.path("node_modules/lodash-es"))?;
    env.start_daemon()?;

    let mut times = [const { [const { Vec::new() }; 2] }; 2];
    for run in 0..runs + 2 {
        for (way, times) in times.iter_mut().enumerate() {
            place.sh("rm -rf out; mkdir out").ok()?;
            let cmd = if way == 0 { place.cmd("make") } else { place.cmd("vrift").arg("make").env("VRIFT_RECACHE", "1") };
            cmd.ok()?;
            if run >= 2 {
                for (name, times) in ["opens", "bundle"].iter().zip(times) {
                    times.push(Duration::from_nanos(number(&place, name)?));
                }
            }
        }
    }
    let [[open, bundle], [seen_open, seen_bundle]] = times.map(|way| way.map(median));
    ensure!(seen_open > open * 2, "the calls were not reported");
    let micros = |time: Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6);
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let mut report = Report::new("bench-unhooked", "Programs that the kernel reports on");
    report
        .row("an open of a missing file by a static program", micros(open), format!("median of {runs}"))
        .row("the same, reported", micros(seen_open), format!("{} more", micros(seen_open.saturating_sub(open))))
        .row("esbuild bundles lodash-es (640 modules)", millis(bundle), "")
        .row("the same, reported", millis(seen_bundle), format!("{} of plain; the aim is 1.10 ×", ratio(seen_bundle, bundle)));
    report
        .data("open_us", open.as_secs_f64() * 1e6)
        .data("reported_open_us", seen_open.as_secs_f64() * 1e6)
        .data("bundle_ms", bundle.as_secs_f64() * 1e3)
        .data("reported_bundle_ms", seen_bundle.as_secs_f64() * 1e3);
    report.finish(options.save)
}

/// What the script wrote into `out`.
fn number(place: &Checkout<'_>, name: &str) -> Result<u64> {
    let text = place.read(&format!("out/{name}"))?;
    text.trim().parse().with_context(|| format!("out/{name}: {text}"))
}
