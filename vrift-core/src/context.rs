//! What a process under vrift must know, in one environment variable.
//!
//! The front end sets [`crate::env::CONTEXT`] for the build tool; the shim reads it, hides it from the program, and adds it
//! again to every program that the program executes. The fields are joined by the byte 0x1F, in [`Field`]'s order, so that
//! the shim can read them without allocating.

#[cfg(feature = "std")]
use crate::paths::{AbsPath, Root, Roots};

/// Separates fields. No path, id or number holds it (a path that does makes the front end run without vrift).
pub const SEPARATOR: u8 = 0x1f;

/// The fields, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Field {
    /// [`crate::PROTOCOL_VERSION`], decimal.
    Version = 0,
    /// The path of `vrift-exec`.
    Exec = 1,
    /// The path of the shim.
    Shim = 2,
    /// The arena's path: set inside an action, empty outside.
    Arena = 3,
    /// Letters, see [`mode`].
    Mode = 4,
    /// The session: 16 hex digits that name one run of a front end.
    Session = 5,
    /// The socket of the project's worker.
    Socket = 6,
    /// `{project}`.
    Project = 7,
    /// `{target}`, empty where it is `{project}/target`.
    Target = 8,
    /// `{cargo}`.
    Cargo = 9,
    /// `{rustup}`.
    Rustup = 10,
    /// `{home}`.
    Home = 11,
    /// `{tmp}`.
    Tmp = 12,
    /// [`crate::env::TRACE_DIR`], empty where unset.
    TraceDir = 13,
    /// The content-addressed store.
    Source = 14,
    /// Where the project's VDir is, or will be; empty where there is to be none.
    VDir = 15,
    /// Names of programs that become actions although no rule says so, joined by slashes.
    Actions = 16,
    /// Names of programs that are left alone, joined by slashes.
    Never = 17,
    /// What settings say of scripts' surroundings; see [`crate::rules::ScriptRules`].
    Script = 18,
    /// Where the map of shared trees is, or will be; empty where there is to be none.
    Base = 19,
    /// Inside an action that runs inside another one: the arena of that one, which hears of everything as well. Else empty.
    Outer = 20,
}

/// How many fields there are.
pub const FIELDS: usize = 21;

/// Letters of [`Field::Mode`].
pub mod mode {
    /// `getcwd` answers `/proc/self/cwd` until a library from outside the toolchain is loaded (see docs/formats.md,
    /// "Portable debug information").
    pub const PORTABLE_CWD: u8 = b'c';
    /// Inside an action: C compilers become actions of their own. Front ends set it, and it means nothing outside of actions.
    pub const NESTED: u8 = b'n';
    /// Compilers get no prefix maps.
    pub const NO_PREFIX_MAP: u8 = b'm';
    /// Run everything for real and record it.
    pub const RECACHE: u8 = b'r';
    /// Run what has no result for real, and do not record it.
    pub const NO_STORE: u8 = b's';
    /// Say whether there is a result, and do nothing.
    pub const DRY: u8 = b'd';
}

/// A parsed context that borrows the variable's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context<'a> {
    fields: [&'a [u8]; FIELDS],
}

impl<'a> Context<'a> {
    /// Parses the variable's value; `None` where it is of another version or has another number of fields.
    /// Does not allocate.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut fields = [&b""[..]; FIELDS];
        let mut rest = Some(value);
        for field in &mut fields {
            let text = rest?;
            match text.iter().position(|c| *c == SEPARATOR) {
                Some(at) => (*field, rest) = (&text[..at], Some(&text[at + 1..])),
                None => (*field, rest) = (text, None),
            }
        }
        let context = Self { fields };
        (rest.is_none() && parse_decimal(context.get(Field::Version)) == Some(crate::PROTOCOL_VERSION)).then_some(context)
    }

    /// One field.
    pub fn get(&self, field: Field) -> &'a [u8] {
        self.fields[field as usize]
    }

    /// This context with one field replaced. Does not allocate.
    #[must_use]
    pub fn with(mut self, field: Field, value: &'a [u8]) -> Self {
        self.fields[field as usize] = value;
        self
    }

    /// All fields, in order.
    pub fn fields(&self) -> &[&'a [u8]; FIELDS] {
        &self.fields
    }

    /// Whether the mode has `letter`.
    pub fn has(&self, letter: u8) -> bool {
        self.get(Field::Mode).contains(&letter)
    }

    /// The variable's value.
    #[cfg(feature = "std")]
    pub fn encode(&self) -> Vec<u8> {
        self.fields.join(&SEPARATOR)
    }

    /// A context of this version without any other field.
    pub fn empty() -> Context<'static> {
        const VERSION: &[u8] = b"2";
        const _: () = assert!(crate::PROTOCOL_VERSION == 2, "VERSION spells PROTOCOL_VERSION");
        let mut fields = [&b""[..]; FIELDS];
        fields[Field::Version as usize] = VERSION;
        Context { fields }
    }

    /// The known roots.
    #[cfg(feature = "std")]
    pub fn roots(&self) -> Roots {
        let named = [
            (Root::Project, Field::Project),
            (Root::Target, Field::Target),
            (Root::Cargo, Field::Cargo),
            (Root::Rustup, Field::Rustup),
            (Root::Home, Field::Home),
            (Root::Tmp, Field::Tmp),
        ];
        Roots::new(named.into_iter().filter_map(|(root, field)| Some((root, AbsPath::new(self.get(field)).ok()?))))
    }
}

fn parse_decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |sum, c| sum.checked_mul(10)?.checked_add((*c as char).to_digit(10)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let context = Context::empty().with(Field::Project, b"/w/a").with(Field::Mode, b"cn").with(Field::Source, b"/s");
        let value = context.encode();
        let back = Context::parse(&value).expect("parses");
        assert_eq!(back, context);
        assert!(back.has(mode::PORTABLE_CWD) && !back.has(mode::RECACHE));
        assert_eq!(back.roots().get(Root::Project).map(ToString::to_string), Some("/w/a".to_owned()));
    }

    #[test]
    fn other_versions_and_shapes_are_refused() {
        assert_eq!(Context::parse(b""), None);
        assert_eq!(Context::parse(b"1"), None);
        let mut value = Context::empty().encode();
        value[0] = b'9';
        assert_eq!(Context::parse(&value), None);
        let mut long = Context::empty().encode();
        long.push(SEPARATOR);
        assert_eq!(Context::parse(&long), None);
    }
}
