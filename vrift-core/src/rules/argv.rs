//! Which arguments matter.

use crate::action::Tool;
use crate::bytes::ByteText;
use crate::paths::{Roots, TemplateText};

/// The arguments that go into the key, known roots replaced. The program's name loses its folder: where the program lies is
/// told by its content.
pub fn request_argv(tool: Tool, argv: &[ByteText], roots: &Roots) -> Vec<TemplateText> {
    let mut out = Vec::with_capacity(argv.len());
    let mut rest = argv.iter();
    if let Some(name) = rest.next() {
        let base = name.rsplit(|c| *c == b'/').next().unwrap_or_default();
        out.push(TemplateText { bytes: ByteText::from(base), ..TemplateText::default() });
    }
    while let Some(arg) = rest.next() {
        if rust(tool) && is_width(arg) {
            if !arg.contains(&b'=') {
                rest.next();
            }
            continue;
        }
        out.push(roots.template_text(arg));
    }
    out
}

/// The terminal's width, which wraps rendered warnings and nothing else. Cargo itself replays warnings at their old width.
fn is_width(arg: &[u8]) -> bool {
    arg == b"--diagnostic-width" || arg.starts_with(b"--diagnostic-width=")
}

fn rust(tool: Tool) -> bool {
    matches!(tool, Tool::Rustc | Tool::Clippy | Tool::Rustdoc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::{AbsPath, Root};

    #[test]
    fn checkout_and_width_vanish() {
        let argv = |root: &str, width: &str| {
            let roots = Roots::new([(Root::Project, AbsPath::new(root.as_bytes()).expect("absolute"))]);
            let out_dir = format!("{root}/target/debug/deps");
            let argv = ["/r/bin/rustc", "--crate-name", "x", width, "--out-dir", &out_dir].map(ByteText::from);
            request_argv(Tool::Rustc, &argv, &roots)
        };
        assert_eq!(argv("/w/a", "--diagnostic-width=80"), argv("/elsewhere/b", "--diagnostic-width=132"));
        assert_ne!(argv("/w/a", "-O"), argv("/w/a", "-g"));
    }
}
