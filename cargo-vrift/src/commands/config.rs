//! `vrift config`: read and change settings.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use toml_edit::{DocumentMut, Item, Table, value};
use vrift_core::home::Home;
use vrift_core::root::Project;
use vrift_core::settings::{self, KEYS, Key, SettingsFile, ValueKind};
use vrift_store::state_dir;

use crate::args::Config;
use crate::error::Error;
use crate::say;

/// The settings files. Unlike for other commands, a wrong file is no obstacle here: this command mends it.
struct Files {
    user: PathBuf,
    /// In the project's own state folder: settings of a project that cannot be written are the user's.
    project: PathBuf,
}

/// Does what was asked.
///
/// # Errors
/// Unknown keys, wrong values, files that cannot be read or written.
pub fn run(args: &Config) -> Result<ExitCode, Error> {
    let cwd = std::env::current_dir().map_err(|source| Error::File { action: "find", path: ".".into(), source })?;
    let home = Home::from_env()?;
    let home = Home::at(cwd.join(home.dir()));
    let project = Project::find(&cwd)?;
    let state = project.root.as_path().join(state_dir::NAME);
    let files = Files { user: home.config(), project: state.join("config.toml") };
    match args {
        Config::Path => say::out(&format!("{}\n{}\n", files.user.display(), files.project.display())),
        Config::Get { key } => say::out(&format!("{}\n", in_force(known(key)?, &files)?.0)),
        Config::Set { key, value, project: false } => set(known(key)?, value, &files, false)?,
        Config::Set { key, value, project: true } => {
            let made = state_dir::prepare(&home, project.id(), &project.root).map_err(|e| Error::Other(e.to_string()))?;
            if made != state {
                return Err(Error::Other(format!("`{}` cannot be written; leave out --project", state.display())));
            }
            set(known(key)?, value, &files, true)?;
        }
        Config::List(output) => {
            let (rows, wrong) = list(&files);
            if output.json {
                say::json(&rows)?;
            } else {
                say::out(&text(&rows));
            }
            // The list is what one needs to mend the file, so it comes in any case.
            return wrong.map_or(Ok(ExitCode::SUCCESS), Err);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn known(name: &str) -> Result<&'static Key, Error> {
    settings::key(name).ok_or_else(|| {
        let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        Error::Usage(format!("there is no setting `{name}`; there are {}", names.join(", ")))
    })
}

/// A key's value in force, and where it comes from.
fn in_force(key: &Key, files: &Files) -> Result<(String, &'static str), Error> {
    let found = |path: &Path| -> Result<Option<String>, Error> {
        let file = SettingsFile::read(path)?;
        Ok(toml::Table::try_from(&file).ok().and_then(|table| lookup(&table, key)))
    };
    if key.per_project
        && let Some(value) = found(&files.project)?
    {
        return Ok((value, "project"));
    }
    match found(&files.user)? {
        Some(value) => Ok((value, "user")),
        None => Ok((key.default.to_owned(), "default")),
    }
}

fn lookup(table: &toml::Table, key: &Key) -> Option<String> {
    let (section, name) = key.name.split_once('.')?;
    match table.get(section)?.get(name)? {
        toml::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// One row of `vrift config list`.
#[derive(Serialize)]
struct Row {
    key: &'static str,
    value: String,
    from: &'static str,
    per_project: bool,
    help: &'static str,
}

/// All keys; where a file is wrong, what the others say, and why.
fn list(files: &Files) -> (Vec<Row>, Option<Error>) {
    let mut wrong = None;
    let mut row = |key: &'static Key| {
        let (value, from) = in_force(key, files).unwrap_or_else(|e| {
            wrong = Some(e);
            (key.default.to_owned(), "default")
        });
        Row { key: key.name, value, from, per_project: key.per_project, help: key.help }
    };
    let rows = KEYS.iter().map(&mut row).collect();
    (rows, wrong)
}

fn text(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let scope = if row.per_project { "user or project" } else { "user" };
        let _ = writeln!(out, "{} = {}  ({}; set per {scope})\n    {}", row.key, row.value, row.from, row.help);
    }
    out
}

/// Writes one key, and leaves comments and order of the file alone.
fn set(key: &Key, text: &str, files: &Files, project: bool) -> Result<(), Error> {
    if project && !key.per_project {
        return Err(Error::Usage(format!("`{}` is shared by all projects; leave out --project", key.name)));
    }
    let path = if project { &files.project } else { &files.user };
    let old = match fs::read_to_string(path) {
        Ok(old) => old,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(Error::File { action: "read", path: path.clone(), source }),
    };
    let invalid = |message: String| Error::Other(format!("`{}`: {message}", path.display()));
    let mut document: DocumentMut = old.parse().map_err(|e: toml_edit::TomlError| invalid(e.message().to_owned()))?;
    let (section, name) = key.name.split_once('.').unwrap_or(("", key.name));
    let new = match (key.kind, text.parse::<bool>(), text.parse::<i64>()) {
        (ValueKind::Bool, Ok(flag), _) => value(flag),
        (ValueKind::Bool, ..) => return Err(Error::Usage(format!("`{}` is true or false, not `{text}`", key.name))),
        (ValueKind::Size | ValueKind::Seconds | ValueKind::Count, _, Ok(number)) => value(number),
        (ValueKind::Count, ..) => return Err(Error::Usage(format!("`{}` is a whole number, not `{text}`", key.name))),
        (ValueKind::Seconds, ..) => return Err(Error::Usage(format!("`{}` is a number of seconds, not `{text}`", key.name))),
        (ValueKind::Size | ValueKind::Path, ..) => value(text),
        (ValueKind::Names, ..) => {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            value(names.collect::<toml_edit::Array>())
        }
    };
    let table = document.entry(section).or_insert(Item::Table(Table::new()));
    let table = table.as_table_like_mut().ok_or_else(|| invalid(format!("`{section}` is not a table")))?;
    table.insert(name, new);
    let new = document.to_string();
    // What is written must be readable: this also checks the value.
    SettingsFile::parse(&new, path)?;
    write(path, &new)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let fail = |source| Error::File { action: "write", path: path.to_owned(), source };
    let Some(dir) = path.parent() else { return Err(fail(std::io::Error::from(std::io::ErrorKind::InvalidInput))) };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
    let temp = dir.join(format!(".config.toml.{}.tmp", std::process::id()));
    let written = fs::File::create(&temp).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temp, path)
    });
    written.map_err(|source| {
        let _ = fs::remove_file(&temp);
        fail(source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Files {
        Files { user: dir.join("home/config.toml"), project: dir.join("p/.vrift/config.toml") }
    }

    fn key(name: &str) -> &'static Key {
        known(name).expect("exists")
    }

    #[test]
    fn what_is_set_is_read_back() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let files = files(tmp.path());
        let max = key("storage.max_size");
        assert_eq!(in_force(max, &files).expect("reads"), ("20GiB".into(), "default"));
        set(max, "500MB", &files, false).expect("sets");
        assert_eq!(in_force(max, &files).expect("reads"), ("500000000".into(), "user"));
        let actions = key("exec.actions");
        set(actions, "protoc, bison", &files, true).expect("sets");
        assert_eq!(in_force(actions, &files).expect("reads"), (r#"["protoc", "bison"]"#.into(), "project"));
        set(actions, "bin/protoc", &files, true).expect_err("a path");
        let map = key("exec.prefix_map");
        set(map, "false", &files, true).expect("sets");
        assert_eq!(in_force(map, &files).expect("reads"), ("false".into(), "project"));
    }

    #[test]
    fn comments_survive_and_nonsense_is_refused() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let files = files(tmp.path());
        fs::create_dir_all(tmp.path().join("home")).expect("mkdir");
        fs::write(&files.user, "# mine\n[storage]\nmax_size = '1GB' # small disk\n").expect("write");
        set(key("ui.summary"), "false", &files, false).expect("sets");
        let text = fs::read_to_string(&files.user).expect("read");
        assert!(text.contains("# mine") && text.contains("# small disk") && text.contains("summary = false"), "{text}");

        for (name, value, project) in
            [("ui.summary", "maybe", false), ("storage.max_size", "much", false), ("storage.max_size", "1GB", true)]
        {
            set(key(name), value, &files, project).expect_err(name);
        }
        assert_eq!(fs::read_to_string(&files.user).expect("read"), text, "a refused value was written");
        assert!(known("storage.max").expect_err("unknown").to_string().contains("storage.max_size"));
    }
}
