//! `vriftd` as a service of this user's systemd: with one that only writes down what it is told, and with a real one.

use std::time::Duration;

use anyhow::{Context, ensure};
use integration::checkout::Checkout;
use integration::env::{TestEnv, as_root_and_user};
use integration::{Result, host};

/// Puts a `systemctl` first in the path that notes its arguments in `told`, and then does `script`.
fn fake_systemctl(checkout: &Checkout<'_>, script: &str) -> Result {
    let told = checkout.path("told");
    let text = format!("#!/bin/sh\necho \"$*\" >> '{}'\n{script}\n", told.display());
    checkout.write("bin/systemctl", text)?;
    checkout.sh("chmod 755 bin/systemctl; touch told").ok()?;
    Ok(())
}

#[test]
fn units_are_written_enabled_and_taken_back() -> Result {
    as_root_and_user(|env| {
        let here = env.checkout("here")?;
        let daemon = |what: &str| here.cmd("vrift").args(["daemon", what]).path_first(&here.path("bin"));
        let file = |name: &str| env.home().join(".config/systemd/user").join(name);
        env.start_daemon()?;
        fake_systemctl(&here, "")?;
        daemon("install").ok()?;
        let told = [
            "--user show --property=Version",
            "--user daemon-reload",
            "--user stop vriftd.socket",
            "--user stop vriftd.service",
            "--user enable --now vriftd.socket",
        ];
        ensure!(here.read("told")?.lines().eq(told), "{}", here.read("told")?);
        ensure!(env.daemons().is_empty(), "they make room for systemd's");
        let service = std::fs::read_to_string(file("vriftd.service"))?;
        let exec = format!("ExecStart=\"{}/vriftd\" --serve --home \"{}\"", env.product().display(), env.vrift_home().display());
        ensure!(service.lines().any(|line| line == exec), "{service}");
        // Nobody listens here; the next build starts the daemons, units or not.
        here.cmd("vrift").args(["run", "--", "true"]).ok()?;
        let status: serde_json::Value = serde_json::from_str(&daemon("status").arg("--json").ok()?.stdout)?;
        ensure!(status["installed"] == true && status["pid"].is_u64(), "{status}");
        if host::has_program("systemd-analyze") {
            let verify = here.cmd("systemd-analyze").args(["--user", "verify"]).env("XDG_RUNTIME_DIR", env.home());
            verify.args([file("vriftd.service"), file("vriftd.socket")]).ok()?;
        }
        daemon("uninstall").ok()?;
        ensure!(here.read("told")?.contains("--user disable --now vriftd.socket\n"));
        ensure!(!file("vriftd.service").exists() && !file("vriftd.socket").exists());
        Ok(())
    })
}

#[test]
fn without_systemd_it_says_what_to_do() -> Result {
    let env = TestEnv::new()?;
    let here = env.checkout("here")?;
    fake_systemctl(&here, "echo 'Failed to connect to bus: No medium found' >&2; exit 1")?;
    let daemon = |what: &str| here.cmd("vrift").args(["daemon", what]).path_first(&here.path("bin"));
    let done = daemon("install").env("XDG_CONFIG_HOME", here.path("config")).ok()?;
    ensure!(done.stderr.contains("systemctl --user enable --now vriftd.socket"), "{}", done.stderr);
    ensure!(here.path("config/systemd/user/vriftd.socket").exists());
    here.cmd("vrift").args(["run", "--", "true"]).ok()?;
    ensure!(daemon("status").ok()?.stdout.contains("none answers"));
    here.write("config/systemd/user/vriftd.service", "[Service]\n")?;
    let refused = daemon("install").env("XDG_CONFIG_HOME", here.path("config")).fails()?;
    ensure!(refused.stderr.contains("is not from vrift"), "{}", refused.stderr);
    Ok(())
}

/// A systemd of one's own: a user instance in namespaces, so that nothing on the machine notices. `$0` is what it is to run.
const WITH_SYSTEMD: &str = r#"
groups=
for top in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -e $top/cgroup.procs ]; then
        mkdir $top/vrift-test-$$
        echo $$ > $top/vrift-test-$$/cgroup.procs
        groups="$groups $top"
    fi
done
export INNER="$0"
status=0
unshare -m -C -p -f --kill-child --mount-proc sh -ec '
    mount --make-rprivate /
    hybrid=; [ -e /sys/fs/cgroup/cgroup.procs ] || hybrid=1
    umount -R /sys/fs/cgroup
    if [ $hybrid ]; then
        mount -t tmpfs none /sys/fs/cgroup
        mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
        mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd
        mount -t cgroup2 none /sys/fs/cgroup/unified
    else
        mount -t cgroup2 none /sys/fs/cgroup
    fi
    mount -t tmpfs none /run
    mkdir -p /run/systemd/system /run/user/0
    export XDG_RUNTIME_DIR=/run/user/0
    /usr/lib/systemd/systemd --user --log-target=console > systemd.log 2>&1 &
    for n in $(seq 100); do systemctl --user show --property=Version > /dev/null 2>&1 && break; sleep 0.1; done
    systemctl --user show --property=Version
    eval "$INNER"
' || status=$?
for top in $groups; do
    echo $$ > $top/cgroup.procs
    find $top/vrift-test-$$ -depth -type d -exec rmdir {} +
done
exit $status
"#;

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_real_systemd_starts_restarts_and_stops_it() -> Result {
    let env = TestEnv::new()?;
    let here = env.checkout("here")?;
    let possible = host::is_root()
        && ["unshare", "systemctl"].into_iter().all(host::has_program)
        && std::path::Path::new("/usr/lib/systemd/systemd").exists()
        && here.sh(WITH_SYSTEMD).arg("true").limit(LIMIT).run()?.status.success();
    if !possible {
        eprintln!("skipped: no systemd can be started here");
        return Ok(());
    }
    let script = "
        vrift daemon install
        main() { systemctl --user show --value --property=MainPID vriftd.service; }
        workers() { vrift ps --all --json | grep '\"pid\"' || true; }
        echo \"asleep: $(main)\"
        vrift status | grep vriftd
        vrift run -- sh -ec 'echo \"int x;\" > x.c; cc -c x.c -o x.o'
        first=$(main); worker=$(workers)
        vrift daemon status | grep 'started by systemd'
        kill -9 $first
        for n in $(seq 100); do second=$(main); [ $second != 0 ] && [ $second != $first ] && break; sleep 0.1; done
        [ $second != $first ] && echo restarted
        for n in $(seq 100); do [ \"$(workers)\" = \"$worker\" ] && break; sleep 0.1; done
        [ \"$(workers)\" = \"$worker\" ] && echo found
        rm x.o; vrift run -- sh -ec 'cc -c x.c -o x.o'
        systemctl --user stop vriftd.service
        sleep 0.5
        [ -z \"$(workers)\" ] && echo stopped
        vrift daemon uninstall
        [ -z \"$(ls -A ~/.config/systemd/user)\" ] && echo removed
    ";
    let done = here.sh(WITH_SYSTEMD).arg(script).limit(LIMIT).ok()?;
    let said = |what: &str| done.stdout.lines().any(|line| line.contains(what)).then_some(()).context(what.to_owned());
    for what in ["asleep: 0", "vriftd   not running", "started by systemd", "restarted", "found", "stopped", "removed"] {
        said(what).with_context(|| done.all())?;
    }
    ensure!(here.path("x.o").exists());
    Ok(())
}
