//! Tests of the record's bytes.

use super::super::compare::{conditions, outcome};
use super::*;
use crate::testing::actions::{full, path, record};

/// Puts the right checksum back after a change.
fn seal(bytes: &mut [u8]) {
    let sum = checksum(&bytes[1 + SUM..]);
    bytes[1..=SUM].copy_from_slice(&sum);
}

#[test]
fn everything_survives() {
    for inputs in [0, 1, 12, 300] {
        let record = full(inputs);
        assert_eq!(decode(&encode(&record)), Ok(record));
    }
}

#[test]
fn shared_beginnings_are_stored_once() {
    let record = full(300);
    let written: usize = record.inputs.iter().map(|input| input.path.as_bytes().len()).sum();
    assert!(encode(&record).len() < written, "{} bytes of {written}", encode(&record).len());
}

#[test]
fn any_flipped_byte_and_any_cut_is_noticed() {
    let good = encode(&full(24));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(decode(&bad).is_err(), "byte {at}");
        assert!(decode(&good[..at]).is_err(), "cut at {at}");
    }
    let mut long = good.clone();
    long.push(0);
    assert_eq!(decode(&long), Err(DecodeError::Checksum));
    seal(&mut long);
    assert_eq!(decode(&long), Err(DecodeError::Trailing));
}

#[test]
fn bytes_that_pass_the_checksum_are_still_not_trusted() {
    // Whatever the bytes say, decoding ends, without a panic and without asking for absurd amounts of memory.
    let good = encode(&full(24));
    for at in 1 + SUM..good.len() {
        for value in [0x00, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            seal(&mut bad);
            let _ = decode(&bad);
        }
    }
    for huge in [&[0xff; 10][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]] {
        let mut bytes = vec![VERSION; 1 + SUM];
        bytes.extend_from_slice(&[0; 32]);
        bytes.extend_from_slice(huge);
        seal(&mut bytes);
        assert!(decode(&bytes).is_err());
    }
    assert_eq!(decode(&[]), Err(DecodeError::Short));
    assert_eq!(decode(&[2]), Err(DecodeError::Version));
}

#[test]
fn the_order_of_inputs_is_no_condition_and_times_are_no_outcome() {
    let one = full(20);
    let mut two = one.clone();
    two.inputs.reverse();
    two.env.reverse();
    two.cpu_us += 1;
    assert_eq!(conditions(&one), conditions(&two));
    assert_eq!(outcome(&one), outcome(&two));

    let base = record("a", b"one", &[]);
    assert_ne!(conditions(&base), conditions(&record("a", b"two", &[])));
    let with = |change: fn(&mut ActionRecord)| {
        let mut other = base.clone();
        change(&mut other);
        (conditions(&other) != conditions(&base), outcome(&other) != outcome(&base))
    };
    let unset = |r: &mut ActionRecord| r.env.push(EnvInput { name: ByteText::from("A"), value: None, shown: None });
    assert_eq!(with(unset), (true, false));
    assert_eq!(with(|r| r.env_closed = true), (true, false));
    assert_eq!(with(|r| r.bound.push((Root::Project, AbsPath::new(b"/w/a").expect("absolute")))), (true, false));
    assert_eq!(with(|r| r.inputs.push(Input { path: path("/w/a/x"), state: InputState::Absent })), (true, false));
    assert_eq!(with(|r| r.stdio.push(StdioChunk { stream: Stream::Out, text: TemplateText::default() })), (false, true));
    let gone = |r: &mut ActionRecord| {
        r.outputs.push(Output { path: path("/w/a/x"), state: OutputState::Removed, optional: false });
    };
    assert_eq!(with(gone), (false, true));
}

#[test]
#[ignore = "a measurement: run it with --release --ignored --nocapture"]
fn decoding_speed() {
    let bytes = encode(&full(300));
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        std::hint::black_box(decode(std::hint::black_box(&bytes))).expect("decodes");
    }
    println!("300 inputs, {} bytes: {} us a record", bytes.len(), start.elapsed().as_micros() / 1000);
}
