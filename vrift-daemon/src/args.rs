//! Arguments of the daemons' programs.

use std::ffi::OsString;
use std::path::PathBuf;

use vrift_core::home::Home;
use vrift_core::settings::Settings;

/// What `vriftd` was asked to do.
#[derive(Debug)]
pub struct CoordinatorArgs {
    /// The state folder.
    pub home: Home,
    /// Be the daemon; without it, start one that is nobody's child and return.
    pub serve: bool,
    /// The worker's program, where it is not beside this one.
    pub worker: Option<PathBuf>,
}

/// What `vdir_d` was asked to do.
#[derive(Debug)]
pub struct WorkerArgs {
    /// The state folder.
    pub home: Home,
    /// The project's canonical root.
    pub root: PathBuf,
    /// The branch, where one is set.
    pub branch: Option<String>,
    /// Where clients connect.
    pub socket: PathBuf,
    /// Standard input is the listening socket already.
    pub listening: bool,
    /// The coordinator's program, for when it has to be started again.
    pub coordinator: Option<PathBuf>,
}

/// What is wrong with the arguments.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// Something that is no argument of this program, or lacks its value.
    #[error(transparent)]
    Parse(#[from] lexopt::Error),
    /// A needed argument is not there.
    #[error("missing argument {0}")]
    Missing(&'static str),
    /// No state folder is named.
    #[error(transparent)]
    NoHome(#[from] vrift_core::home::NoHome),
}

/// Parses the arguments of `vriftd`, the program's name first.
///
/// # Errors
/// See [`ArgsError`].
pub fn coordinator(args: impl IntoIterator<Item = OsString>) -> Result<CoordinatorArgs, ArgsError> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_iter(args);
    let (mut home, mut source, mut serve, mut worker) = (None, None, false, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("home") => home = Some(PathBuf::from(parser.value()?)),
            Long("source") => source = Some(PathBuf::from(parser.value()?)),
            Long("serve") => serve = true,
            Long("worker") => worker = Some(PathBuf::from(parser.value()?)),
            other => return Err(other.unexpected().into()),
        }
    }
    let settled = source.is_some();
    let home = home_of(home, source)?;
    Ok(CoordinatorArgs { home: if settled { home } else { where_set(home) }, serve, worker })
}

/// Parses the arguments of `vdir_d`, the program's name first.
///
/// # Errors
/// See [`ArgsError`].
pub fn worker(args: impl IntoIterator<Item = OsString>) -> Result<WorkerArgs, ArgsError> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_iter(args);
    let (mut home, mut source, mut root, mut branch) = (None, None, None, None);
    let (mut socket, mut listening, mut coordinator) = (None, false, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("home") => home = Some(PathBuf::from(parser.value()?)),
            Long("source") => source = Some(PathBuf::from(parser.value()?)),
            Long("root") => root = Some(PathBuf::from(parser.value()?)),
            Long("branch") => branch = Some(parser.value()?.string()?),
            Long("socket") => socket = Some(PathBuf::from(parser.value()?)),
            Long("listening") => listening = true,
            Long("coordinator") => coordinator = Some(PathBuf::from(parser.value()?)),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(WorkerArgs {
        home: home_of(home, source)?,
        root: root.ok_or(ArgsError::Missing("--root"))?,
        branch,
        socket: socket.ok_or(ArgsError::Missing("--socket"))?,
        listening,
        coordinator,
    })
}

fn home_of(home: Option<PathBuf>, source: Option<PathBuf>) -> Result<Home, ArgsError> {
    let home = match home {
        Some(dir) => Home::at(dir),
        None => Home::from_env()?,
    };
    Ok(match source {
        Some(source) => home.with_source(source),
        None => home,
    })
}

/// `home` with its store where the user's settings put it. A settings file that is wrong is said elsewhere.
fn where_set(home: Home) -> Home {
    match Settings::load(&home, None) {
        Ok(settings) => settings.apply(home),
        Err(_) => home,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn known_arguments_are_taken_and_others_refused() {
        let args = coordinator(words("vriftd --home /h --source /s --serve")).expect("parses");
        assert_eq!((args.home.dir(), args.home.the_source(), args.serve), ("/h".as_ref(), "/s".as_ref(), true));
        assert!(coordinator(words("vriftd --home /h --wat")).is_err());
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("config.toml"), "[storage]\nthe_source = '/elsewhere'\n").expect("writes");
        let args = coordinator(words(&format!("vriftd --serve --home {}", dir.path().display()))).expect("parses");
        assert_eq!(args.home.the_source(), std::path::Path::new("/elsewhere"));
        let args = worker(words("vdir_d --home /h --root /w --socket /h/x.sock --branch b")).expect("parses");
        assert_eq!((args.branch.as_deref(), args.listening), (Some("b"), false));
        assert!(matches!(worker(words("vdir_d --home /h --root /w")), Err(ArgsError::Missing("--socket"))));
    }
}
