//! What was asked for.

use std::env as process_env;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use vrift_core::action::Tool;
use vrift_core::bytes::ByteText;
use vrift_core::context::{Context, Field, mode};
use vrift_core::env;
use vrift_core::paths::{AbsPath, Root, Roots};
use vrift_core::rules::{self, ScriptRules};

/// A command, with what this process knows of vrift.
#[derive(Debug)]
pub struct Command {
    /// The kind of program.
    pub tool: Tool,
    /// The program.
    pub program: AbsPath,
    /// Its name and arguments.
    pub argv: Vec<ByteText>,
    /// Its environment as `NAME=value`, without vrift's own variables.
    pub env: Vec<ByteText>,
    /// Its working folder.
    pub cwd: AbsPath,
    /// Where the known roots are.
    pub roots: Roots,
    /// The session that it belongs to.
    pub session: String,
    /// The worker's socket.
    pub socket: PathBuf,
    /// The content-addressed store.
    pub source: PathBuf,
    /// What settings say of a script's variables and caches.
    pub script: ScriptRules,
    /// Where traces go, if anywhere.
    pub trace_dir: Option<PathBuf>,
    /// The context's variable.
    context: Vec<u8>,
}

/// Why there is no command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Started by hand.
    #[error("this program is started by vrift's preload library; run `vrift run -- <command>` instead")]
    ByHand,
    /// The working folder is gone.
    #[error("the working folder cannot be read: {0}")]
    Cwd(String),
}

impl Command {
    /// Reads this process's arguments and environment.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn from_process() -> Result<Self, CommandError> {
        let mut args = process_env::args_os().skip(1);
        let tool = args.next().and_then(|name| Tool::from_name(name.to_str()?)).ok_or(CommandError::ByHand)?;
        let program = args.next().and_then(|path| AbsPath::new(path.as_bytes()).ok()).ok_or(CommandError::ByHand)?;
        let argv: Vec<ByteText> = args.map(ByteText::from).collect();
        let context = process_env::var_os(env::CONTEXT).ok_or(CommandError::ByHand)?.into_vec();
        let cwd = process_env::current_dir().map_err(|e| CommandError::Cwd(e.to_string()))?;
        let cwd = AbsPath::try_from(cwd.as_path()).map_err(|e| CommandError::Cwd(e.to_string()))?;
        let fields = Context::parse(&context).ok_or(CommandError::ByHand)?;
        let path = |field| PathBuf::from(OsString::from_vec(fields.get(field).to_vec()));
        let roots = with_scratch(tool, fields.roots(), &cwd, &argv);
        Ok(Self {
            tool,
            program,
            argv,
            env: variables(),
            cwd,
            roots,
            session: String::from_utf8_lossy(fields.get(Field::Session)).into_owned(),
            socket: path(Field::Socket),
            source: path(Field::Source),
            script: ScriptRules::parse(fields.get(Field::Script)),
            trace_dir: Some(path(Field::TraceDir)).filter(|dir| !dir.as_os_str().is_empty()),
            context,
        })
    }

    /// The context.
    pub fn context(&self) -> Context<'_> {
        Context::parse(&self.context).unwrap_or(Context::empty())
    }

    /// Whether the context's mode has `letter`.
    pub fn context_mode(&self, letter: u8) -> bool {
        self.context().has(letter)
    }

    /// Run everything for real and record it.
    pub fn recache(&self) -> bool {
        self.context_mode(mode::RECACHE)
    }

    /// The value of a variable.
    pub fn var(&self, name: &str) -> Option<&[u8]> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// A name for people.
    pub fn label(&self) -> String {
        rules::label(self.tool, &self.argv, &self.env)
    }

    /// Whether the program is rustc or one that takes its arguments.
    pub fn is_rustc(&self) -> bool {
        matches!(self.tool, Tool::Rustc | Tool::Clippy)
    }

    /// The values of `flag`, given as `flag value`, `flag=value` or, for a codegen option `-C name`, `-Cname=value` too.
    pub fn codegen_option(&self, name: &str) -> Option<&[u8]> {
        let mut args = self.argv.iter();
        let mut found = None;
        while let Some(arg) = args.next() {
            let option = match &arg[..] {
                b"-C" | b"--codegen" => args.next().map(|next| &next[..]),
                other => other.strip_prefix(b"-C").or_else(|| other.strip_prefix(b"--codegen=")),
            };
            if let Some(value) = option.and_then(|o| o.strip_prefix(name.as_bytes())?.strip_prefix(b"=")) {
                found = Some(value);
            }
        }
        found
    }

    /// The value of a long flag, given as `--flag value` or `--flag=value`.
    pub fn flag(&self, name: &str) -> Option<&[u8]> {
        let at = self
            .argv
            .iter()
            .position(|arg| arg.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"=")))?;
        match self.argv[at].strip_prefix(name.as_bytes())?.strip_prefix(b"=") {
            Some(value) => Some(value),
            None => self.argv.get(at + 1).map(|value| &value[..]),
        }
    }
}

/// The known roots, and the folder with a random name that a compiler is started in or for.
fn with_scratch(tool: Tool, roots: Roots, cwd: &AbsPath, argv: &[ByteText]) -> Roots {
    if !tool.is_native() {
        return roots;
    }
    let named = std::iter::once(cwd.as_bytes()).chain(argv.iter().skip(1).map(|arg| &arg[..]));
    let folder = named.filter_map(rules::scratch_folder).find_map(|folder| AbsPath::new(folder).ok());
    let inside = |folder: &AbsPath| roots.get(Root::Project).is_some_and(|project| folder.below(project).is_some());
    match folder.filter(inside) {
        Some(folder) => roots.with(Root::Scratch, folder),
        None => roots,
    }
}

/// The environment without vrift's own variables.
fn variables() -> Vec<ByteText> {
    let join = |(name, value): (OsString, OsString)| {
        let mut entry = name.into_vec();
        entry.push(b'=');
        entry.extend_from_slice(value.as_bytes());
        ByteText(entry)
    };
    process_env::vars_os().filter(|(name, _)| name != env::CONTEXT).map(join).collect()
}

/// File creation mask. Linux tells it to whoever sets it; this process has one thread and makes no file in between.
pub fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}
