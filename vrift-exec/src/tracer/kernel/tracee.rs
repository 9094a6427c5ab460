//! Reading what a reported call points to: the memory of its thread, and where its folders and descriptors lead.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use libc::c_int;
use vrift_core::proc::Link;

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
            return self.behind_proc(path);
        }
        let mut whole = self.folder(dir)?;
        whole.push(b'/');
        whole.extend_from_slice(&path);
        if whole.starts_with(b"/proc/") { self.behind_proc(whole) } else { Some(whole) }
    }

    /// The same path, not through a link of `/proc` that leads elsewhere for that process alone; `None` where what it leads through
    /// has no name. A file without one goes by the link.
    fn behind_proc(self, path: Vec<u8>) -> Option<Vec<u8>> {
        let Some(link) = Link::of(&path) else { return Some(path) };
        let mut room = [0; 64];
        let name = Path::new(OsStr::from_bytes(link.name(Some(self.0), &mut room)?.to_bytes()));
        let Some(target) = fs::read_link(name).ok().filter(|target| target.is_absolute()) else { return Some(path) };
        // What was removed has a name there all the same, which may be another file's.
        let same = fs::metadata(name).ok().zip(fs::metadata(&target).ok());
        let same = same.is_some_and(|(there, here)| (there.dev(), there.ino()) == (here.dev(), here.ino()));
        match link.rest {
            b"" if same => Some(target.into_os_string().into_vec()),
            b"" => Some(name.as_os_str().as_bytes().to_vec()),
            rest => same.then(|| [target.as_os_str().as_bytes(), b"/", rest].concat()),
        }
    }
}

fn link(path: &str) -> Option<Vec<u8>> {
    fs::read_link(path).ok().map(|target| target.into_os_string().into_vec())
}

/// What is at a path now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub mode: u32,
}

impl Found {
    pub fn is_file(self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    pub fn is_folder(self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// Looks at a path; the error's number where nothing is there, or not for us.
pub fn look(path: &[u8], follow: bool) -> Result<Found, u16> {
    let path = Path::new(OsStr::from_bytes(path));
    let meta = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
    meta.map(|meta| Found { mode: meta.mode() }).map_err(|e| number(&e))
}

/// The number of an error.
pub fn number(error: &std::io::Error) -> u16 {
    error.raw_os_error().and_then(|number| u16::try_from(number).ok()).unwrap_or(libc::EIO as u16)
}
