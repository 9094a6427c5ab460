//! Reading the log of `strace -f -o`.

use std::collections::HashMap;

/// One finished system call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// The thread.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Its arguments as printed.
    pub args: Vec<String>,
    /// What it returned, as printed: `3</path>`, `-1 ENOENT (…)`, `0`.
    pub result: String,
}

impl Call {
    /// Whether it succeeded.
    pub fn is_ok(&self) -> bool {
        !self.result.starts_with('-') && !self.result.starts_with('?')
    }

    /// The error's name.
    pub fn errno(&self) -> Option<&str> {
        self.result.strip_prefix("-1 ")?.split_whitespace().next()
    }

    /// A quoted argument, its escapes undone.
    pub fn text(&self, index: usize) -> Option<String> {
        unquote(self.args.get(index)?)
    }

    /// The strings of a list argument: `["a", "b"]`.
    pub fn list(&self, index: usize) -> Option<Vec<String>> {
        let inside = self.args.get(index)?.strip_prefix('[')?.strip_suffix(']')?;
        Some(split(inside).iter().filter_map(|item| unquote(item)).collect())
    }

    /// The path that `-y` adds to a descriptor argument: `3</path>`, `AT_FDCWD</path>`.
    pub fn descriptor_path(&self, index: usize) -> Option<String> {
        annotation(self.args.get(index)?)
    }

    /// A number that it returned.
    pub fn number(&self) -> Option<u32> {
        let digits = self.result.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }
}

/// All calls of a log, in the order of their ends, and of their beginnings for those that never ended (a successful
/// `execve` of a thread that is not the first one ends under another number).
pub fn parse(log: &str) -> Vec<Call> {
    let mut open: HashMap<u32, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Ok(pid) = pid.parse::<u32>() else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("+++") {
            if let Some((_, by)) = rest.split_once("superseded by execve in pid ")
                && let Some(start) = by.split(' ').next().and_then(|by| by.parse().ok()).and_then(|by: u32| open.remove(&by))
            {
                // The thread takes over the first thread's number; the call's end follows under that.
                open.insert(pid, start);
            }
            continue;
        }
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            open.insert(pid, start.trim_end().to_owned());
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((_, end)) = resumed.split_once("resumed>") else { continue };
            if let Some(start) = open.remove(&pid) {
                calls.extend(call(pid, &format!("{start}{end}")));
            }
        } else if rest.contains("<pid changed to ") {
            // Seen for a thread that executes: the call itself succeeded.
            let start = rest.split(" <pid changed to ").next().unwrap_or(rest);
            calls.extend(call(pid, &format!("{start}) = 0")));
        } else {
            calls.extend(call(pid, rest));
        }
    }
    calls
}

fn call(pid: u32, text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
        return None;
    }
    let end = closing(rest)?;
    let result = rest[end + 1..].trim_start().strip_prefix('=')?.trim_start().to_owned();
    Some(Call { pid, name: name.to_owned(), args: split(&rest[..end]), result })
}

/// The position of the parenthesis that closes one opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c, quoted) in scan(text) {
        match c {
            b'(' | b'[' | b'{' if !quoted => depth += 1,
            b')' if !quoted && depth == 0 => return Some(at),
            b')' | b']' | b'}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Splits at commas that stand outside of quotes and brackets.
fn split(text: &str) -> Vec<String> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, c, quoted) in scan(text) {
        match c {
            b'(' | b'[' | b'{' if !quoted => depth += 1,
            b')' | b']' | b'}' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                parts.push(text[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        parts.push(last.to_owned());
    }
    parts
}

/// Each byte with its position, and whether it stands inside quotes or inside a descriptor's `<path>`.
fn scan(text: &str) -> impl Iterator<Item = (usize, u8, bool)> + '_ {
    let (mut string, mut escape, mut path) = (false, false, false);
    let mut before = 0_u8;
    text.bytes().enumerate().map(move |(at, c)| {
        let quoted = string || path;
        if escape {
            escape = false;
        } else if c == b'\\' {
            escape = true;
        } else if c == b'"' && !path {
            string = !string;
        } else if c == b'<' && !string && !path && (before.is_ascii_digit() || before == b'D') {
            path = true;
        } else if c == b'>' && path {
            path = false;
        }
        before = c;
        (at, c, quoted || string || path)
    })
}

/// The path in `3</path>`.
fn annotation(text: &str) -> Option<String> {
    let start = text.find('<')?;
    let inside = text[start + 1..].strip_suffix('>')?;
    let inside = inside.strip_suffix(">(deleted)").or_else(|| inside.strip_suffix(" (deleted)")).unwrap_or(inside);
    inside.starts_with('/').then(|| unescape(inside))
}

/// The path that `-y` adds to a call's result.
pub fn result_path(result: &str) -> Option<String> {
    annotation(result.trim_end())
}

/// The content of `"…"` or `"…"...`.
fn unquote(text: &str) -> Option<String> {
    let inside = text.trim().strip_prefix('"')?;
    let end = inside.rfind('"')?;
    Some(unescape(&inside[..end]))
}

/// Undoes the escapes of a C string: `\n`, `\"`, `\33`, `\x1b`.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' || at + 1 >= bytes.len() {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let next = bytes[at + 1];
        let (radix, most, skip) = if next == b'x' { (16, 2, 2) } else { (8, 3, 1) };
        let digits = bytes[at + skip..].iter().take(most).take_while(|c| (**c as char).is_digit(radix)).count();
        if digits > 0 {
            let value = bytes[at + skip..at + skip + digits]
                .iter()
                .fold(0_u32, |sum, c| sum * radix + (*c as char).to_digit(radix).unwrap_or(0));
            out.push((value & 0xff) as u8);
            at += skip + digits;
            continue;
        }
        out.push(match next {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            other => other,
        });
        at += 2;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        let log = concat!(
            "7 execve(\"/bin/a b\", [\"a b\", \"-x=(1,2)\", \"q\\\"\\303\\244\"], [\"A=1\"]) = 0\n",
            "7 execve(\"/no\", [\"no\"], 0x7ffc /* 3 vars */) = -1 ENOENT (No such file or directory)\n",
            "8 openat(AT_FDCWD</w (x)>, \"src/a.rs\", O_RDONLY|O_CLOEXEC <unfinished ...>\n",
            "9 newfstatat(3</etc/ld.so.cache>, \"\", {st_mode=S_IFREG|0644, st_size=1, ...}, AT_EMPTY_PATH) = 0\n",
            "8 <... openat resumed>) = 3</w (x)/src/a.rs>\n",
            "8 --- SIGCHLD {si_signo=SIGCHLD} ---\n",
            "8 +++ exited with 0 +++\n",
        );
        let calls = parse(log);
        assert_eq!(calls.len(), 4);
        assert_eq!(calls[0].list(1), Some(vec!["a b".to_owned(), "-x=(1,2)".to_owned(), "q\"ä".to_owned()]));
        assert!(calls[0].is_ok() && !calls[1].is_ok());
        assert_eq!(calls[1].errno(), Some("ENOENT"));
        assert_eq!(calls[2].descriptor_path(0).as_deref(), Some("/etc/ld.so.cache"));
        assert_eq!(calls[3].descriptor_path(0).as_deref(), Some("/w (x)"));
        assert_eq!(calls[3].text(1).as_deref(), Some("src/a.rs"));
        assert_eq!(result_path(&calls[3].result).as_deref(), Some("/w (x)/src/a.rs"));
        assert_eq!(calls[3].number(), Some(3));
    }

    #[test]
    fn a_thread_that_executes_is_followed() {
        let log = concat!(
            "12 execve(\"/bin/x\", [\"x\"], [] <unfinished ...>\n",
            "10 +++ superseded by execve in pid 12 +++\n",
            "10 <... execve resumed>) = 0\n",
        );
        let calls = parse(log);
        assert_eq!(calls.len(), 1);
        assert_eq!((calls[0].pid, calls[0].text(0).as_deref()), (10, Some("/bin/x")));
    }
}
