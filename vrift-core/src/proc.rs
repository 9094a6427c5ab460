//! Links of `/proc` that lead to other files, for one process alone: `cwd`, `root`, `exe`, `fd/<n>`; see proc(5). Neither allocates nor
//! asks the kernel.

use core::ffi::CStr;

/// Room for the name of such a link.
pub type Room = [u8; 64];

/// A path that leads through such a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link<'a> {
    /// Whose: `self`, `thread-self`, or a number.
    process: &'a [u8],
    /// `cwd`, `root`, `exe` or `fd`.
    kind: &'a [u8],
    /// The number behind `fd`.
    number: &'a [u8],
    /// What of the path is behind the link, without a slash in front. Where that is empty, the path is the link's own.
    pub rest: &'a [u8],
}

impl<'a> Link<'a> {
    /// Takes an absolute path apart; `None` for one that leads through no such link. Standard input by its number is none: what it
    /// holds is not what a file holds that it leads to.
    pub fn of(path: &'a [u8]) -> Option<Self> {
        let mut rest = path.strip_prefix(b"/")?;
        let (process, kind) = match next(&mut rest)? {
            b"dev" => (&b"self"[..], next(&mut rest).filter(|name| name == b"fd")?),
            b"proc" => {
                let mut process = next(&mut rest)?;
                let mut kind = next(&mut rest)?;
                if kind == b"task" {
                    (process, kind) = (next(&mut rest)?, next(&mut rest)?);
                }
                (process, kind)
            }
            _ => return None,
        };
        let number = match kind {
            b"fd" => next(&mut rest).filter(|number| is_number(number))?,
            b"cwd" | b"root" | b"exe" => b"",
            _ => return None,
        };
        let rest = tail(rest);
        let known = matches!(process, b"self" | b"thread-self") || is_number(process);
        (known && !(rest.is_empty() && number == b"0")).then_some(Self { process, kind, number, rest })
    }

    /// Whether it leads to the current folder of the process that names it.
    pub fn is_own_folder(&self) -> bool {
        self.process == b"self" && self.kind == b"cwd"
    }

    /// The link's own name, for a process that looks at its own behalf, or at that of the thread `caller`.
    pub fn name<'r>(&self, caller: Option<u32>, room: &'r mut Room) -> Option<&'r CStr> {
        let mut digits = [0; 10];
        let process = match caller {
            Some(caller) if !is_number(self.process) => decimal(caller, &mut digits),
            _ => self.process,
        };
        let slash: &[u8] = if self.number.is_empty() { b"" } else { b"/" };
        let mut used = 0;
        for piece in [b"/proc/", process, b"/", self.kind, slash, self.number, b"\0"] {
            room.get_mut(used..used + piece.len())?.copy_from_slice(piece);
            used += piece.len();
        }
        CStr::from_bytes_with_nul(room.get(..used)?).ok()
    }
}

/// A number's digits.
pub fn decimal(mut value: u32, room: &mut [u8; 10]) -> &[u8] {
    let mut first = room.len();
    loop {
        first -= 1;
        room[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    &room[first..]
}

/// Takes the first name off a path; `None` where there is none, or one that leads back.
fn next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    *rest = tail(rest);
    let name = first(rest);
    *rest = &rest[name.len()..];
    (!name.is_empty() && name != b"..").then_some(name)
}

fn first(path: &[u8]) -> &[u8] {
    &path[..path.iter().position(|c| *c == b'/').unwrap_or(path.len())]
}

/// A path without slashes and names in front that stay where they are.
fn tail(mut path: &[u8]) -> &[u8] {
    loop {
        path = match path {
            [b'/', rest @ ..] | [b'.', b'/', rest @ ..] => rest,
            b"." => b"",
            _ => return path,
        };
    }
}

fn is_number(text: &[u8]) -> bool {
    (1..=10).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of the link that a path leads through, and what is behind it.
    fn parts(path: &[u8]) -> Option<(String, String)> {
        let mut room = [0; 64];
        let link = Link::of(path)?;
        let name = link.name(Some(77), &mut room)?.to_str().ok()?.to_owned();
        Some((name, String::from_utf8_lossy(link.rest).into_owned()))
    }

    #[test]
    fn links_are_told_from_files() {
        let is = |path: &str, name: &str, rest: &str| {
            assert_eq!(parts(path.as_bytes()), Some((name.to_owned(), rest.to_owned())), "{path}");
        };
        is("/proc/self/fd/3/in", "/proc/77/fd/3", "in");
        is("//proc/./self//fd/3/./a/../in", "/proc/77/fd/3", "a/../in");
        is("/proc/self/fd/3", "/proc/77/fd/3", "");
        is("/proc/thread-self/cwd/in", "/proc/77/cwd", "in");
        is("/proc/12/root/etc/passwd", "/proc/12/root", "etc/passwd");
        is("/proc/self/task/13/fd/10/in", "/proc/13/fd/10", "in");
        is("/proc/self/exe", "/proc/77/exe", "");
        is("/dev/fd/5/in", "/proc/77/fd/5", "in");
        is("/proc/self/fd/0/in", "/proc/77/fd/0", "in");
        for path in ["/proc/self/fd/0", "/dev/fd/0", "/dev/stdin", "/proc/self/fd", "/proc/self/fd/x/in", "/proc/self/maps"] {
            assert_eq!(parts(path.as_bytes()), None, "{path}");
        }
        for path in [
            "/proc/cpuinfo",
            "/dev/cwd",
            "/dev/null",
            "/dev/x/fd/3",
            "/process/self/fd/3",
            "proc/self/fd/3",
            "/proc/me/fd/3",
            "/",
        ] {
            assert_eq!(parts(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn numbers_are_spelt() {
        for value in [0, 7, 10, 4_294_967_295] {
            assert_eq!(decimal(value, &mut [0; 10]), value.to_string().as_bytes());
        }
    }
}
