//! Misses become hits, and everything that an action saw turns a hit into a miss.

use std::fs;
use std::os::unix::fs::MetadataExt;

use vrift_core::bytes::ByteText;
use vrift_core::wire::LookupResult;

use crate::bench::{Bench, Client, next_tick, wait_until};

/// A checkout in which the tool has run once.
fn built(bench: &Bench) -> (crate::bench::Checkout<'_>, Client) {
    let checkout = bench.checkout("a");
    let mut client = checkout.client();
    next_tick();
    client.misses_because("never built before");
    client.build();
    client.hit();
    (checkout, client)
}

impl Client {
    fn abandon_last(&mut self) {
        let plan = self.miss();
        self.abandon(plan.key, None);
    }

    fn misses_because(&mut self, reason: &str) {
        let plan = self.miss();
        assert!(plan.reason.contains(reason), "{}", plan.reason);
        self.abandon(plan.key, None);
    }
}

#[test]
fn a_hit_brings_everything_back() {
    let bench = Bench::new();
    let (checkout, mut client) = built(&bench);
    let object = fs::read(checkout.root.join("out/x.o")).expect("reads");
    fs::remove_file(checkout.root.join("out/x.o")).expect("removes");
    let plan = client.hit();
    checkout.restore(&plan);
    assert_eq!(fs::read(checkout.root.join("out/x.o")).expect("restored"), object);
    assert_eq!(plan.stdio.len(), 1);
    assert_eq!(plan.stdio[0].text.0, client.said());
}

#[test]
fn every_change_of_an_input_is_noticed() {
    let bench = Bench::new();
    let (checkout, mut client) = built(&bench);
    checkout.write_unseen("src/in.c", "int y;\n");
    client.misses_because("{project}/src/in.c changed");
    checkout.write("src/in.c", "int x;\n");
    client.hit();
    checkout.write("src/in.h", "");
    client.misses_because("{project}/src/in.h is there now");
    fs::remove_file(checkout.root.join("src/in.h")).expect("removes");
    client.hit();
    fs::remove_file(checkout.root.join("src/in.c")).expect("removes");
    client.misses_because("{project}/src/in.c is gone");
    fs::create_dir(checkout.root.join("src/in.c")).expect("creates");
    client.misses_because("a folder");
}

#[test]
fn a_touched_file_is_the_same_file() {
    let bench = Bench::new();
    let (checkout, mut client) = built(&bench);
    let file = fs::File::options().write(true).open(checkout.root.join("src/in.c")).expect("opens");
    file.set_modified(std::time::SystemTime::now()).expect("touches");
    client.hit();
}

#[test]
fn unset_and_empty_and_other_values_are_three_things() {
    let bench = Bench::new();
    let (_checkout, mut client) = built(&bench);
    let with = |client: &mut Client, mode: Option<&str>| {
        client.params.env.retain(|e| !e.starts_with(b"MODE="));
        client.params.env.extend(mode.map(|m| ByteText::from(format!("MODE={m}").as_str())));
    };
    with(&mut client, Some(""));
    client.misses_because("the variable MODE changed");
    with(&mut client, None);
    client.misses_because("to `not set`");
    next_tick();
    client.build();
    client.hit();
    with(&mut client, Some(""));
    client.misses_because("MODE");
    with(&mut client, Some("fast"));
    client.hit();
    client.params.env[1] = "TERM=dumb".into();
    client.params.env.push("UNREAD=1".into());
    client.hit();
}

#[test]
fn who_may_have_seen_all_variables_saw_that_others_were_not_set() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let mut client = checkout.client();
    next_tick();
    let plan = client.miss();
    let mut params = client.run(plan);
    params.env_closed = true;
    for name in ["PATH", "TERM"] {
        let value = client.params.env.iter().find_map(|e| e.strip_prefix(format!("{name}=").as_bytes()));
        let value = value.map(vrift_core::digest::Digest::of);
        params.env.push(vrift_core::action::EnvInput { name: name.into(), value, shown: None });
    }
    assert!(client.record(&params).stored);
    client.hit();
    client.params.env.push("SSH_TTY=/dev/pts/1".into());
    client.hit();
    client.params.env.push("EXTRA=1".into());
    client.misses_because("EXTRA");
}

#[test]
fn arguments_program_and_folder_make_another_action() {
    let bench = Bench::new();
    let (checkout, mut client) = built(&bench);
    client.params.argv.insert(1, "-O2".into());
    wait_until("the first result is in the manifest", || {
        let plan = client.miss();
        client.abandon(plan.key, None);
        plan.reason.contains("an argument changed")
    });
    client.params.argv.remove(1);
    client.hit();
    fs::write(bench.path("bin/tool"), "#!/bin/sh\n#\n").expect("writes");
    client.misses_because("the program changed");
    fs::write(bench.path("bin/tool"), "#!/bin/sh\n").expect("writes");
    client.hit();
    fs::remove_file(bench.path("bin/tool")).expect("removes");
    assert!(matches!(client.lookup(), LookupResult::Uncached { .. }));
    drop(checkout);
}

#[test]
fn a_lost_or_damaged_blob_is_a_miss_and_is_forgotten() {
    let bench = Bench::new();
    let (checkout, mut client) = built(&bench);
    let object = checkout.root.join("out/x.o");
    let before = fs::metadata(&object).expect("exists");
    assert!(vrift_store::cas::is_blob_mode(vrift_store::cas::MODE_PLAIN, before.mode() & 0o7777));
    // An in-place writer reaches the blob through the link.
    fs::set_permissions(&object, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("chmod");
    fs::write(&object, "something else").expect("writes");
    client.misses_because("no longer whole");
    wait_until("it is forgotten", || {
        let plan = client.miss();
        client.abandon(plan.key, None);
        plan.reason == "never built before"
    });
    assert_eq!(fs::read(&object).expect("still there"), b"something else");
    fs::remove_file(&object).expect("removes");
    next_tick();
    client.build();
    client.hit();
}

#[test]
fn why_tells_what_changed() {
    let bench = Bench::new();
    let (checkout, mut client) = built(&bench);
    checkout.write("src/in.c", "int z;\n");
    client.params.env[2] = "MODE=slow".into();
    client.abandon_last();
    wait_until("the differences are listed", || !client.why("tool x.o")[0].changes.is_empty());
    let entry = client.why("src/in.c").remove(0);
    assert_eq!(entry.outcome, "uncached");
    let names: Vec<_> = entry.changes.iter().map(|c| (c.kind.as_str(), c.name.as_str())).collect();
    assert_eq!(names, [("env", "MODE"), ("file", "{project}/src/in.c")]);
    assert_eq!(client.why("tool x.o").last().expect("the first look-up").reason, "never built before; not stored: a test");
    assert!(client.why("nothing like it").is_empty());
}

#[test]
fn numbers_are_kept() {
    let bench = Bench::new();
    let (_checkout, mut client) = built(&bench);
    let sum = client.summary();
    assert_eq!((sum.hits, sum.misses, sum.saved_cpu_us), (1, 1, 10));
    assert_eq!((sum.uncached, sum.uncached_reasons["a test"]), (1, 1));
    assert_eq!(client.status().total.hits, 1);
}
