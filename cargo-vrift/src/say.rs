//! What people see: stdout is data, stderr is for people.
//!
//! Nothing here fails: where a stream is closed, the text is lost and the program goes on.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use crate::error::Error;

/// Writes data to stdout.
pub fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes one JSON document to stdout.
///
/// # Errors
/// Where `value` does not serialise, which wire types do not do.
pub fn json<T: serde::Serialize>(value: &T) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::Other(format!("cannot write JSON: {e}")))?;
    out(&(text + "\n"));
    Ok(())
}

/// Writes one line to stderr, behind `vrift: `. In one piece, so that lines of parallel programs do not mix.
pub fn line(text: impl Display) {
    let line = format!("{} {text}\n", dim("vrift:"));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Writes why a command failed, and what to do.
pub fn error(error: &Error) {
    match error.hint() {
        Some(hint) => line(format_args!("{error} ({hint})")),
        None => line(error),
    }
}

/// `text` in a quiet colour where stderr is a terminal that wants colours.
fn dim(text: &str) -> Cow<'_, str> {
    if colour() { Cow::Owned(format!("\x1b[2m{text}\x1b[0m")) } else { Cow::Borrowed(text) }
}

fn colour() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    io::stderr().is_terminal() && !set("NO_COLOR") && !set("CI") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// A size in binary units: `553.0 MiB`.
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// A time span for people: `18.2 s`, `3 min 20 s`.
pub fn time(micros: u64) -> String {
    let seconds = micros as f64 / 1e6;
    match micros {
        0..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        1_000_000..120_000_000 => format!("{seconds:.1} s"),
        120_000_000..7_200_000_000 => format!("{} min {} s", micros / 60_000_000, micros / 1_000_000 % 60),
        _ => format!("{} h {} min", micros / 3_600_000_000, micros / 60_000_000 % 60),
    }
}

/// How long something has been running: `42 s`, `3 min 20 s`.
pub fn age(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { time(seconds.saturating_mul(1_000_000)) }
}

/// `1 hit`, `2 hits`, `3 misses`.
pub fn count(n: u64, one: &str) -> String {
    let ending = match one {
        _ if n == 1 => "",
        _ if one.ends_with('s') => "es",
        _ => "s",
    };
    format!("{n} {one}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let times: Vec<_> = [1_500, 250_000, 18_240_000, 200_000_000, 9_000_000_000].into_iter().map(time).collect();
        assert_eq!(times, ["1.5 ms", "250 ms", "18.2 s", "3 min 20 s", "2 h 30 min"]);
        assert_eq!([age(0), age(119), age(200)], ["0 s", "119 s", "3 min 20 s"]);
        assert_eq!([count(1, "miss"), count(0, "miss"), count(2, "hit")], ["1 miss", "0 misses", "2 hits"]);
        assert_eq!(size(553 << 20), "553.0 MiB");
    }
}
