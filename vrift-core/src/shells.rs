//! Shells that no preload reaches, which run unseen.
//!
//! A call that is reported by the kernel fails with EINTR where a signal comes before anybody has taken note of the call, if the
//! program handles that signal without SA_RESTART; no flag of the kernel's closes that window (seccomp(2), `seccomp_do_user_notification`
//! in the kernel's `kernel/seccomp.c`). Shells handle SIGCHLD so, and take the failure for the file's: `can't open x: Interrupted system
//! call`. So what such a shell does is not stored.

const SHELLS: [&[u8]; 13] =
    [b"sh", b"ash", b"dash", b"hush", b"bash", b"rbash", b"ksh", b"mksh", b"lksh", b"oksh", b"yash", b"posh", b"zsh"];

/// Whether the program at `path` is a shell. `first` is its first argument, which says what a program of many names is; for one that
/// interprets a script, nothing.
pub fn is_shell(path: &[u8], first: Option<&[u8]>) -> bool {
    let name = last(path);
    let many = [&b"busybox"[..], b"toybox"].iter().any(|many| name.starts_with(many));
    SHELLS.contains(&name) || (many && first.is_none_or(|first| SHELLS.contains(&last(first))))
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|c| *c == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_go_by_their_names() {
        assert!(is_shell(b"/bin/ash", None) && is_shell(b"dash", Some(b"-c")));
        assert!(is_shell(b"/bin/busybox", Some(b"sh")) && is_shell(b"/bin/busybox.static", Some(b"/bin/ash")));
        assert!(is_shell(b"/bin/busybox", None), "of a script");
        assert!(
            !is_shell(b"/bin/busybox", Some(b"cat")) && !is_shell(b"/usr/bin/esbuild", None) && !is_shell(b"/bin/flash", None)
        );
    }
}
