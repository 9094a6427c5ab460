//! Which environment variables matter.
//!
//! | variables | effect |
//! |---|---|
//! | vrift's own | never an input |
//! | [`is_session_noise`] | not an input merely because a program could see them; one that a program asks for by name is, unless it is an [`unimportant_read`] |
//! | [`key_env`] | part of the key |
//! | any other | an input of the actions that read it; of a program that may list all variables, see [`reads_env_by_name`], all are inputs |

use crate::tool::Tool;

/// Variables that describe the terminal, the login or the run, exact names. And `PATH`: where each program was found, and where
/// it was not, are inputs themselves.
const NOISE: &[&str] = &[
    "CARGO_MAKEFLAGS",
    "COLORTERM",
    "COLUMNS",
    "CONTAINER_NAME",
    "DISPLAY",
    "HISTCONTROL",
    "HISTFILE",
    "HISTSIZE",
    "HOSTNAME",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LESS",
    "LESSCLOSE",
    "LESSOPEN",
    "LINES",
    "LOGNAME",
    "LS_COLORS",
    "MAIL",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MAKE_TERMERR",
    "MAKE_TERMOUT",
    "MFLAGS",
    "NUM_JOBS",
    "OLDPWD",
    "PAGER",
    "PATH",
    "PS1",
    "PS2",
    "PWD",
    "SHELL",
    "SHLVL",
    "STY",
    "TERM",
    "TERMCAP",
    "TMUX",
    "TMUX_PANE",
    "USER",
    "USERNAME",
    "WAYLAND_DISPLAY",
    "WINDOWID",
    "_",
];

/// The same, by what the name starts with.
const NOISE_PREFIXES: &[&str] = &[
    "ALACRITTY_",
    "CLAUDECODE",
    "CLAUDE_CODE_",
    "CODEX_SANDBOX",
    "CURSOR_TRACE",
    "DBUS_",
    "GEMINI_CLI",
    "GNOME_",
    "GPG_AGENT",
    "GPG_TTY",
    "GTK_IM_",
    "ITERM_",
    "KDE_",
    "KITTY_",
    "KONSOLE_",
    "QT_ACCESSIBILITY",
    "QT_IM_",
    "QT_QPA_",
    "QT_SCALE",
    "SESSION_MANAGER",
    "SSH_",
    "SUDO_",
    "SYSTEMD_",
    "TERM_PROGRAM",
    "TERM_SESSION",
    "VSCODE_",
    "VTE_",
    "WEZTERM_",
    "XDG_SESSION",
    "XDG_RUNTIME",
    "XDG_SEAT",
    "XDG_VTNR",
    "ZELLIJ",
];

/// Whether a variable differs between sessions of the same person on the same code, and says nothing about a build.
pub fn is_session_noise(name: &[u8]) -> bool {
    crate::env::is_own(name)
        || NOISE.iter().any(|n| n.as_bytes() == name)
        || NOISE_PREFIXES.iter().any(|p| name.starts_with(p.as_bytes()))
}

/// Whether a variable is part of the key: it steers the loader, or it tells apart variants that would otherwise share one
/// key and crowd each other out.
pub fn key_env(tool: Tool, name: &[u8]) -> bool {
    const LOADER: [&[u8]; 3] = [b"LD_LIBRARY_PATH", b"LD_PRELOAD", b"LD_AUDIT"];
    LOADER.contains(&name)
        || (tool == Tool::BuildScript
            && (name.starts_with(b"CARGO_FEATURE_") || name.starts_with(b"CARGO_CFG_") || name == b"TARGET"))
}

/// Whether reading a variable by name has no bearing on the result of this tool, although it was read.
pub fn unimportant_read(tool: Tool, name: &[u8]) -> bool {
    // Where temporary files go, how many jobs run, how wide and colourful the terminal is. PATH: what was found in it, and
    // what was not, are inputs themselves. Cargo passes colour and width to rustc as arguments.
    const ALL: [&[u8]; 9] =
        [b"CARGO_MAKEFLAGS", b"MAKEFLAGS", b"MFLAGS", b"NUM_JOBS", b"TMPDIR", b"TMP", b"TEMP", b"COLUMNS", b"LINES"];
    const COMPILERS: [&[u8]; 5] = [b"PATH", b"TERM", b"COLORTERM", b"PWD", b"RUST_BACKTRACE"];
    if crate::env::is_own(name) || ALL.contains(&name) {
        return true;
    }
    tool != Tool::Script && tool != Tool::BuildScript && COMPILERS.contains(&name)
}

/// Whether a variable's name says that its value is nobody's business: it is compared, and never shown or kept.
pub fn sounds_secret(name: &[u8]) -> bool {
    const WORDS: [&[u8]; 7] = [b"TOKEN", b"SECRET", b"PASS", b"KEY", b"CREDENTIAL", b"AUTH", b"COOKIE"];
    WORDS.iter().any(|word| name.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)))
}

/// Whether a program asks for variables by name alone, so that those it asked for are all that it saw. Any other program
/// may have listed them all.
pub fn reads_env_by_name(program: &[u8]) -> bool {
    const KNOWN: [&[u8]; 28] = [
        b"rustc",
        b"rustdoc",
        b"clippy-driver",
        b"cc1",
        b"cc1plus",
        b"cc1obj",
        b"cc1objplus",
        b"collect2",
        b"lto1",
        b"lto-wrapper",
        b"as",
        b"ld",
        b"ld.bfd",
        b"ld.gold",
        b"ld.lld",
        b"ld.mold",
        b"gold",
        b"lld",
        b"rust-lld",
        b"mold",
        b"strip",
        b"objcopy",
        b"objdump",
        b"nm",
        b"readelf",
        b"git",
        b"uname",
        b"rustup",
    ];
    let name = program.rsplit(|c| *c == b'/').next().unwrap_or(program);
    super::programs::is_one_of(name, &KNOWN) || super::is_c_driver(name) || super::is_archiver(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names() {
        assert!(["GITHUB_TOKEN", "npm_config__auth", "db_password"].iter().all(|name| sounds_secret(name.as_bytes())));
        assert!(["RUSTFLAGS", "CC", "OUT_DIR", ""].iter().all(|name| !sounds_secret(name.as_bytes())));
    }

    #[test]
    fn noise_is_noise() {
        for name in ["TERM", "COLUMNS", "PWD", "SSH_AUTH_SOCK", "DISPLAY", "USER", "CLAUDE_CODE_SESSION", "VRIFT_CONTEXT", "_"] {
            assert!(is_session_noise(name.as_bytes()), "{name}");
        }
        for name in ["RUSTFLAGS", "CC", "CFLAGS", "HOME", "LANG", "SOURCE_DATE_EPOCH", "CARGO_FEATURE_STD", "OUT_DIR"] {
            assert!(!is_session_noise(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn compilers_are_known_to_read_by_name() {
        for program in [
            "/r/bin/rustc",
            "/usr/bin/x86_64-linux-gnu-gcc-12",
            "/usr/libexec/gcc/cc1",
            "/usr/bin/x86_64-linux-gnu-ld.bfd",
            "/usr/bin/ld.lld-14",
            "llvm-strip-14",
        ] {
            assert!(reads_env_by_name(program.as_bytes()), "{program}");
        }
        for program in ["/bin/sh", "/t/build-script-build", "/usr/bin/python3", "/usr/bin/env"] {
            assert!(!reads_env_by_name(program.as_bytes()), "{program}");
        }
    }
}
