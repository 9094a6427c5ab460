//! Reading what a reported call points to: the memory of its thread, and where its folders and descriptors lead.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use libc::c_int;

/// The longest path that the kernel takes, NUL included.
const LONGEST: usize = 4096;
/// No page is smaller.
const PAGE: usize = 4096;

/// A thread that waits for its call.
#[derive(Clone, Copy)]
pub struct Tracee(pub u32);

/// What could be read.
pub enum Read<T> {
    /// It is this.
    Got(T),
    /// The call cannot succeed either: the address is bad, or the path too long.
    Bad,
    /// This process may not look.
    Denied,
}

impl Tracee {
    /// Reads at an address; the buffer's length counts.
    pub fn bytes(self, address: u64, buffer: &mut [u8]) -> Read<()> {
        match self.part(address, buffer) {
            Ok(len) if len == buffer.len() => Read::Got(()),
            Ok(_) | Err(libc::EFAULT) => Read::Bad,
            Err(_) => Read::Denied,
        }
    }

    /// A path, without its NUL.
    pub fn text(self, address: u64) -> Read<Vec<u8>> {
        let mut text = vec![0; LONGEST];
        let mut len = 0;
        while len < LONGEST {
            let Some(from) = address.checked_add(len as u64) else { return Read::Bad };
            // What follows the path need not be mapped.
            let page = PAGE - (from as usize) % PAGE;
            let end = LONGEST.min(len + page);
            let got = match self.part(from, &mut text[len..end]) {
                Ok(got) => got,
                Err(libc::EFAULT) => return Read::Bad,
                Err(_) => return Read::Denied,
            };
            if let Some(nul) = memchr::memchr(0, &text[len..len + got]) {
                text.truncate(len + nul);
                return Read::Got(text);
            }
            if got < end - len {
                return Read::Bad;
            }
            len = end;
        }
        Read::Bad
    }

    fn part(self, address: u64, buffer: &mut [u8]) -> Result<usize, c_int> {
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
        // SAFETY: the local buffer is valid for its length; the remote one is the kernel's to check.
        let got = unsafe { libc::process_vm_readv(self.0 as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(got).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// The folder that a relative path starts at; `None` where it has no path.
    pub fn folder(self, dir: c_int) -> Option<Vec<u8>> {
        if dir == libc::AT_FDCWD {
            return link(&format!("/proc/{}/cwd", self.0)).filter(|path| path.starts_with(b"/"));
        }
        self.descriptor(dir)
    }

    /// Where a descriptor leads; `None` where that has no path.
    pub fn descriptor(self, fd: c_int) -> Option<Vec<u8>> {
        if fd < 0 {
            return None;
        }
        link(&format!("/proc/{}/fd/{fd}", self.0)).filter(|path| path.starts_with(b"/"))
    }

    /// The absolute form of a path that is not empty; `None` where its base has none.
    pub fn absolute(self, dir: c_int, path: Vec<u8>) -> Option<Vec<u8>> {
        if path.starts_with(b"/") {
            return Some(if path.starts_with(b"/proc/") { self.behind_proc(path) } else { path });
        }
        let mut whole = self.folder(dir)?;
        whole.push(b'/');
        whole.extend_from_slice(&path);
        Some(whole)
    }

    /// Links below `/proc/<process>` that lead to other files, for that process alone: `cwd`, `root`, `exe`, `fd/<n>`.
    fn behind_proc(self, path: Vec<u8>) -> Vec<u8> {
        self.try_behind_proc(&path).unwrap_or(path)
    }

    fn try_behind_proc(self, path: &[u8]) -> Option<Vec<u8>> {
        let mut parts = path.strip_prefix(b"/proc/")?.split(|c| *c == b'/').filter(|part| !part.is_empty() && part != b".");
        let process = match parts.next()? {
            b"self" | b"thread-self" => self.0,
            digits => std::str::from_utf8(digits).ok()?.parse().ok()?,
        };
        let target = match parts.next()? {
            name @ (b"cwd" | b"root" | b"exe") => link(&format!("/proc/{process}/{}", std::str::from_utf8(name).ok()?))?,
            b"fd" => link(&format!("/proc/{process}/fd/{}", std::str::from_utf8(parts.next()?).ok()?))?,
            _ => return None,
        };
        let mut whole = Some(target).filter(|target| target.starts_with(b"/"))?;
        for part in parts {
            whole.push(b'/');
            whole.extend_from_slice(part);
        }
        Some(whole)
    }
}

fn link(path: &str) -> Option<Vec<u8>> {
    fs::read_link(path).ok().map(|target| target.into_os_string().into_vec())
}

/// What is at a path now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub mode: u32,
    pub dev: u64,
}

impl Found {
    pub fn is_folder(self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    pub fn is_link(self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }
}

/// Looks at a path; the error's number where nothing is there, or not for us.
pub fn look(path: &[u8], follow: bool) -> Result<Found, u16> {
    use std::os::unix::fs::MetadataExt;
    let path = Path::new(OsStr::from_bytes(path));
    let meta = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
    meta.map(|meta| Found { mode: meta.mode(), dev: meta.dev() }).map_err(|e| number(&e))
}

/// The number of an error.
pub fn number(error: &std::io::Error) -> u16 {
    error.raw_os_error().and_then(|number| u16::try_from(number).ok()).unwrap_or(libc::EIO as u16)
}

/// The folder that a path is in.
pub fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|c| *c != b'/').map_or(0, |at| at + 1);
    match path[..end].iter().rposition(|c| *c == b'/') {
        Some(0) | None => b"/",
        Some(at) => &path[..at],
    }
}
