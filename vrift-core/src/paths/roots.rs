//! The known roots of one run, and the replacing of them.

use std::fmt;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::abs::{AbsPath, strip_root};
use super::template::{TemplatePath, TemplateText};
use crate::bytes::ByteText;

/// A folder that is at another place for another checkout or user.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Root {
    /// The project's root.
    Project,
    /// Cargo's target folder, where it is not `{project}/target`.
    Target,
    /// `CARGO_HOME`.
    Cargo,
    /// `RUSTUP_HOME`.
    Rustup,
    /// `HOME`.
    Home,
    /// `TMPDIR`, else `/tmp`.
    Tmp,
    /// The folder with a random name in which the command tries something out; see [`crate::rules::scratch_folder`].
    Scratch,
}

impl Root {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Project, Self::Target, Self::Cargo, Self::Rustup, Self::Home, Self::Tmp, Self::Scratch];

    /// The letter in a stored placeholder. Stored data holds these: never change one.
    pub const fn letter(self) -> u8 {
        match self {
            Self::Project => b'p',
            Self::Target => b't',
            Self::Cargo => b'c',
            Self::Rustup => b'r',
            Self::Home => b'h',
            Self::Tmp => b'm',
            Self::Scratch => b's',
        }
    }

    /// The root of a stored letter.
    pub fn from_letter(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|root| root.letter() == letter)
    }

    /// The name shown in braces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Target => "target",
            Self::Cargo => "cargo",
            Self::Rustup => "rustup",
            Self::Home => "home",
            Self::Tmp => "tmp",
            Self::Scratch => "scratch",
        }
    }

    /// Whether the folder belongs to one checkout, so that an output that holds its path is not portable as it stands.
    pub const fn per_checkout(self) -> bool {
        matches!(self, Self::Project | Self::Target | Self::Scratch)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where each known root is in this run. Kept longest path first, so that the innermost root wins.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Roots(Vec<(Root, AbsPath)>);

impl Roots {
    /// Takes the roots in any order. `/` is never a root: replacing it would say nothing.
    pub fn new(roots: impl IntoIterator<Item = (Root, AbsPath)>) -> Self {
        let mut list: Vec<_> = roots.into_iter().filter(|(_, path)| path.as_bytes() != b"/").collect();
        list.sort_by(|a, b| b.1.as_bytes().len().cmp(&a.1.as_bytes().len()).then(a.0.cmp(&b.0)));
        list.dedup_by(|a, b| a.1 == b.1);
        Self(list)
    }

    /// The same and one more.
    #[must_use]
    pub fn with(&self, root: Root, path: AbsPath) -> Self {
        Self::new(self.0.iter().cloned().chain([(root, path)]))
    }

    /// Where `root` is.
    pub fn get(&self, root: Root) -> Option<&AbsPath> {
        self.0.iter().find(|(r, _)| *r == root).map(|(_, path)| path)
    }

    /// All roots, innermost first.
    pub fn iter(&self) -> impl Iterator<Item = &(Root, AbsPath)> {
        self.0.iter()
    }

    /// Only those that differ between checkouts.
    pub fn per_checkout(&self) -> Self {
        Self(self.0.iter().filter(|(root, _)| root.per_checkout()).cloned().collect())
    }

    /// Replaces the leading root of a path.
    pub fn template_path(&self, path: &AbsPath) -> TemplatePath {
        for (root, at) in &self.0 {
            if let Some(rest) = strip_root(path.as_bytes(), at.as_bytes()) {
                let mut out = vec![0, root.letter()];
                if !rest.is_empty() {
                    out.push(b'/');
                    out.extend_from_slice(rest);
                }
                return TemplatePath(ByteText(out));
            }
        }
        TemplatePath(ByteText::from(path.as_bytes()))
    }

    /// The path that a template stands for here; `None` where its root is not known in this run.
    pub fn expand_path(&self, path: &TemplatePath) -> Option<AbsPath> {
        let expanded = self.expand_text(path.as_bytes())?;
        AbsPath::new(&expanded).ok()
    }

    /// Replaces each root that `text` names, wherever it stands.
    ///
    /// A root is named where its bytes end at a component boundary and start where a path can start. Other occurrences of
    /// its bytes (`/mnt/w/a`, `/w/a.lock` for the root `/w/a`) stay, and make the result doubtful.
    pub fn template_text(&self, text: &[u8]) -> TemplateText {
        let mut out = TemplateText::default();
        let mut spans = self.occurrences(text);
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.len)));
        let mut done = 0;
        for span in spans {
            if span.start < done {
                continue;
            }
            if !span.whole || !starts_path(&text[..span.start]) {
                out.doubtful = true;
                continue;
            }
            out.bytes.0.extend_from_slice(&text[done..span.start]);
            out.bytes.0.extend_from_slice(&[0, span.root.letter()]);
            out.placeholders += 1;
            done = span.start + span.len;
        }
        out.bytes.0.extend_from_slice(&text[done..]);
        out
    }

    /// The text that a template stands for here; `None` where it names a root that is not known in this run.
    pub fn expand_text(&self, template: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(template.len() + 64);
        let mut rest = template;
        while let Some(at) = memchr::memchr(0, rest) {
            out.extend_from_slice(&rest[..at]);
            let root = Root::from_letter(*rest.get(at + 1)?)?;
            out.extend_from_slice(self.get(root)?.as_bytes());
            rest = &rest[at + 2..];
        }
        out.extend_from_slice(rest);
        Some(out)
    }

    /// Whether `content` holds the bytes of any of these roots.
    pub fn occur_in(&self, content: &[u8]) -> bool {
        self.0.iter().any(|(_, path)| memmem::find(content, path.as_bytes()).is_some())
    }

    fn occurrences(&self, text: &[u8]) -> Vec<Span> {
        let mut spans = Vec::new();
        // Most texts are short words, and a root holds a slash.
        if memchr::memchr(b'/', text).is_none() {
            return spans;
        }
        for (root, path) in &self.0 {
            let len = path.as_bytes().len();
            spans.extend(memmem::find_iter(text, path.as_bytes()).map(|start| {
                let whole = text.get(start + len).is_none_or(|c| !is_name_byte(*c));
                Span { start, len, root: *root, whole }
            }));
        }
        spans
    }
}

struct Span {
    start: usize,
    len: usize,
    root: Root,
    /// The root's last component ends where the span ends.
    whole: bool,
}

/// Whether an absolute path can start right behind `before`.
fn starts_path(before: &[u8]) -> bool {
    match before.last() {
        None => true,
        Some(c) if !is_name_byte(*c) && *c != b'/' => true,
        Some(b'/') => false,
        Some(_) => {
            // `-I/w/a`: a flag's letters, back to a dash that starts the word.
            let letters = before.iter().rev().take_while(|c| c.is_ascii_alphabetic()).count();
            let flag = &before[..before.len() - letters];
            letters > 0
                && flag.ends_with(b"-")
                && flag[..flag.len() - 1].last().is_none_or(|c| c.is_ascii_whitespace() || *c == b'-' || *c == b'"')
        }
    }
}

/// Bytes that usually continue a file name. Bytes above ASCII are part of UTF-8 names.
fn is_name_byte(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.' | b'+' | b'~' | b'@' | b'%') || c >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(list: &[(Root, &str)]) -> Roots {
        Roots::new(list.iter().map(|(r, p)| (*r, AbsPath::new(p.as_bytes()).expect("absolute"))))
    }

    #[test]
    fn innermost_root_wins() {
        let roots = roots(&[(Root::Home, "/home/u"), (Root::Cargo, "/home/u/.cargo"), (Root::Project, "/home/u/w/a")]);
        let path = |text: &str| roots.template_path(&AbsPath::new(text.as_bytes()).expect("absolute")).to_string();
        assert_eq!(path("/home/u/.cargo/registry"), "{cargo}/registry");
        assert_eq!(path("/home/u/w/a"), "{project}");
        assert_eq!(path("/home/u/w/ab"), "{home}/w/ab");
        assert_eq!(path("/usr/lib"), "/usr/lib");
    }

    #[test]
    fn text_round_trip_in_another_checkout() {
        let here = roots(&[(Root::Project, "/w/a")]);
        let there = roots(&[(Root::Project, "/elsewhere/b")]);
        let text = b"/w/a/target/x.d: src/x.rs /v/y -L dependency=/w/a/deps -I/w/a/include";
        let template = here.template_text(text);
        assert_eq!(template.placeholders, 3);
        assert!(!template.doubtful);
        let expanded = there.expand_text(&template.bytes).expect("known root");
        assert_eq!(
            String::from_utf8_lossy(&expanded),
            "/elsewhere/b/target/x.d: src/x.rs /v/y -L dependency=/elsewhere/b/deps -I/elsewhere/b/include"
        );
        assert_eq!(here.expand_text(&template.bytes).expect("known root"), text);
    }

    #[test]
    fn a_path_inside_another_path_is_doubtful() {
        let here = roots(&[(Root::Project, "/w/a")]);
        let template = here.template_text(b"see /mnt/w/a/x");
        assert!(template.doubtful);
        assert_eq!(template.placeholders, 0);
        assert!(here.template_text(b"/w/a.lock").doubtful);
        assert!(here.occur_in(b"\x7fELF..../w/a\0"));
        assert!(!here.occur_in(b"/w/b"));
    }

    #[test]
    fn unknown_roots_do_not_expand() {
        assert_eq!(roots(&[]).expand_text(b"\0p/x"), None);
        assert_eq!(roots(&[(Root::Project, "/")]).get(Root::Project), None);
    }
}
