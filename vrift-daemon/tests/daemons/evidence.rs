//! What changes while a command runs is not what it saw.

use std::fs;
use std::thread;
use std::time::Duration;

use vrift_core::action::Access;
use vrift_core::wire::{InputClaim, RecordParams};

use crate::bench::{Bench, Client, abs, next_tick};

fn claim(client: &Client, params: &mut RecordParams, name: &str, access: Access) {
    params.inputs.push(InputClaim { path: abs(&client.root.join(name)), access });
}

fn refused(client: &mut Client, params: &RecordParams) -> String {
    let result = client.record(params);
    assert!(!result.stored);
    result.reason.expect("a reason")
}

#[test]
fn a_source_that_changed_meanwhile_is_not_stored() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let mut client = checkout.client();
    for edit in [
        |c: &crate::bench::Checkout<'_>| c.write("src/in.c", "int later;\n"),
        |c: &crate::bench::Checkout<'_>| c.write_unseen("src/in.c", "int after;\n"),
    ] {
        next_tick();
        let plan = client.miss();
        let params = client.run(plan);
        edit(&checkout);
        let reason = refused(&mut client, &params);
        assert!(reason.contains("src/in.c changed while it ran"), "{reason}");
    }
}

#[test]
fn a_file_that_appears_meanwhile_is_not_stored_unless_the_run_made_it() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let mut client = checkout.client();
    next_tick();
    let plan = client.miss();
    let mut params = client.run(plan);
    claim(&client, &mut params, "out/x.o", Access::Absent);
    assert!(client.record(&params).stored);
    checkout.write("src/in.c", "int y;\n");
    next_tick();
    let plan = client.miss();
    let params = client.run(plan);
    checkout.write("src/in.h", "");
    assert!(refused(&mut client, &params).contains("src/in.h appeared while it ran"));
}

#[test]
fn a_folder_that_is_listed_is_watched() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let mut client = checkout.client();
    next_tick();
    let plan = client.miss();
    let mut params = client.run(plan);
    claim(&client, &mut params, "src", Access::Listing);
    checkout.write("src/new.c", "");
    assert!(refused(&mut client, &params).contains("the folder"));
    next_tick();
    let plan = client.miss();
    let mut params = client.run(plan);
    claim(&client, &mut params, "src", Access::Listing);
    assert!(client.record(&params).stored);
    client.hit();
    checkout.write("src/newer.c", "");
    let plan = client.miss();
    assert!(plan.reason.contains("{project}/src changed"), "{}", plan.reason);
}

/// A file written right before the command starts, in the same tick of the clock, is one that the look-up saw.
#[test]
fn a_source_written_just_before_is_stored() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let mut client = checkout.client();
    for i in 0..20 {
        checkout.write("src/in.c", &format!("int x{i};\n"));
        client.build();
        client.hit();
    }
}

/// Cargo's pipelining: the second command reads an output of the first while that is being recorded, which gives the file
/// another time, and perhaps another inode.
#[test]
fn an_output_that_is_adopted_meanwhile_is_stored() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let (mut first, mut second) = (checkout.client(), checkout.client());
    second.params.argv = ["tool", "-c", "out/x.o", "-o", "out/y.o"].map(Into::into).to_vec();
    next_tick();
    let plan = first.miss();
    fs::write(checkout.root.join("out/x.o"), "object of int x;\n").expect("writes");
    let reader = second.miss();
    let mut reading = second.run_elsewhere(reader);
    claim(&second, &mut reading, "out/x.o", Access::Content);
    thread::sleep(Duration::from_millis(20));
    // The first is recorded: its output, which the second has read, becomes a blob.
    let mut params = first.run_elsewhere(plan);
    claim(&first, &mut params, "src/in.c", Access::Content);
    first.add_output(&mut params, "out/x.o");
    assert!(first.record(&params).stored);
    let result = second.record(&reading);
    assert!(result.stored, "{result:?}");
    second.hit();
}

#[test]
fn an_input_restored_by_an_earlier_hit_is_stored_however_soon() {
    let bench = Bench::new();
    let (a, b) = (bench.checkout("a"), bench.checkout("b"));
    let mut client = a.client();
    next_tick();
    client.build();
    let mut restorer = b.client();
    crate::bench::wait_until("a hit", || matches!(restorer.lookup(), vrift_core::wire::LookupResult::Hit(_)));
    b.restore(&restorer.hit());
    drop(restorer);
    let mut reader = b.client();
    // The reader names nothing that tells: it finds the file by itself.
    reader.params.argv = ["tool", "-all"].map(Into::into).to_vec();
    std::thread::sleep(Duration::from_millis(2));
    let plan = reader.miss();
    let object = fs::read(b.root.join("out/x.o")).expect("reads");
    let mut params = reader.run_elsewhere(plan);
    claim(&reader, &mut params, "out/x.o", Access::Content);
    // Another checkout links the same blob meanwhile, which changes the inode's time.
    fs::hard_link(b.root.join("out/x.o"), bench.path("elsewhere.o")).expect("links");
    let result = reader.record(&params);
    assert!(result.stored, "{result:?}");
    assert_eq!(fs::read(b.root.join("out/x.o")).expect("reads"), object);
}

impl Client {
    /// A run that leaves nothing.
    fn run_elsewhere(&mut self, plan: vrift_core::wire::MissPlan) -> RecordParams {
        RecordParams {
            session: self.params.session.clone(),
            plan,
            roots: self.params.roots.clone(),
            started_ns: crate::bench::coarse_now(),
            inputs: Vec::new(),
            env: Vec::new(),
            env_closed: false,
            outputs: Vec::new(),
            stamps: Vec::new(),
            stdio: Vec::new(),
            bound: Vec::new(),
            wall_us: 1,
            cpu_us: 1,
            script: vrift_core::bytes::ByteText::default(),
        }
    }
}
