//! The unit files: what this user's systemd reads to listen for builds and to start `vriftd` when one comes.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vrift_core::env as own_env;
use vrift_core::home::Home;

use crate::error::Error;

const SERVICE: &str = include_str!("vriftd.service");
const SOCKET: &str = include_str!("vriftd.socket");

/// How our files begin. Whatever else has their names is somebody's own.
const MARK: &str = "# Written by `vrift daemon install`";

/// The longest path that a socket can be bound to; see unix(7).
const MAX_SUN_PATH: usize = 107;

/// Where the unit files are, or would be.
#[derive(Debug)]
pub struct Units {
    folder: PathBuf,
}

impl Units {
    /// In the user's configuration folder (XDG Base Directory Specification).
    ///
    /// # Errors
    /// There is none.
    pub fn find() -> Result<Self, Error> {
        let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
        let config = config.ok_or_else(|| Error::Other("neither XDG_CONFIG_HOME nor HOME is an absolute path".into()))?;
        Ok(Self { folder: config.join("systemd/user") })
    }

    /// The file of the service.
    pub fn service(&self) -> PathBuf {
        self.folder.join("vriftd.service")
    }

    /// The file of the socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("vriftd.socket")
    }

    /// Whether both files are there and ours.
    pub fn are_installed(&self) -> bool {
        [self.service(), self.socket()].iter().all(|file| matches!(is_ours(file), Ok(true)))
    }

    /// Writes both files, for the coordinator `vriftd` of `home`.
    ///
    /// # Errors
    /// Where they cannot be written, are somebody's own, or a path cannot stand in them.
    pub fn write(&self, vriftd: &Path, home: &Home) -> Result<(), Error> {
        let files = [(self.service(), service_text(vriftd, home)?), (self.socket(), socket_text(home)?)];
        for (path, _) in &files {
            check_ours(path)?;
        }
        let fail = |path: &Path, source| Error::File { action: "write", path: path.to_owned(), source };
        fs::create_dir_all(&self.folder).map_err(|e| fail(&self.folder, e))?;
        for (path, text) in &files {
            let temp = path.with_extension("vrift-tmp");
            fs::write(&temp, text).and_then(|()| fs::rename(&temp, path)).map_err(|e| fail(path, e))?;
        }
        Ok(())
    }

    /// Removes both files, and the link by which the socket is enabled; whether there was anything.
    ///
    /// # Errors
    /// Where they cannot be removed, or are somebody's own.
    pub fn remove(&self) -> Result<bool, Error> {
        let files = [self.service(), self.socket()];
        files.iter().try_for_each(|path| check_ours(path))?;
        let mut removed = false;
        for path in files.into_iter().chain([self.folder.join("sockets.target.wants/vriftd.socket")]) {
            match fs::remove_file(&path) {
                Ok(()) => removed = true,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::File { action: "remove", path, source }),
            }
        }
        Ok(removed)
    }
}

fn is_ours(path: &Path) -> io::Result<bool> {
    Ok(fs::read_to_string(path)?.starts_with(MARK))
}

fn check_ours(path: &Path) -> Result<(), Error> {
    match is_ours(path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Other(format!("`{}` is not from vrift; move it away first", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::File { action: "read", path: path.to_owned(), source }),
    }
}

fn service_text(vriftd: &Path, home: &Home) -> Result<String, Error> {
    // The program's own path has no variables in it, all other words may.
    let mut exec = format!("{} --serve --home {}", quoted(text_of(vriftd)?), quoted(text_of(home.dir())?).replace('$', "$$"));
    // Otherwise the settings say where the store is, each time that it starts.
    if env::var_os(own_env::THE_SOURCE).is_some_and(|value| !value.is_empty()) {
        exec += &format!(" --source {}", quoted(text_of(home.the_source())?).replace('$', "$$"));
    }
    Ok(SERVICE.replace("@EXEC@", &exec))
}

fn socket_text(home: &Home) -> Result<String, Error> {
    let socket = home.coordinator_socket();
    let path = text_of(&socket)?;
    if path.len() > MAX_SUN_PATH {
        let len = path.len();
        return Err(Error::Other(format!(
            "systemd cannot listen at `{path}`: {len} bytes, and {MAX_SUN_PATH} are possible; set VRIFT_HOME to a shorter folder"
        )));
    }
    Ok(SOCKET.replace("@SOCKET@", &path.replace('%', "%%")))
}

/// A path that can stand in a unit file.
fn text_of(path: &Path) -> Result<&str, Error> {
    let plain = |text: &&str| !text.contains(|c: char| c.is_control()) && text.trim() == *text;
    path.to_str().filter(plain).ok_or_else(|| Error::Other(format!("the path {path:?} cannot stand in a unit file of systemd")))
}

/// A word of a command line. Source: systemd.service(5), "Command lines".
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_and_go_and_those_of_others_stay() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let units = Units { folder: tmp.path().join("systemd/user") };
        let home = Home::at("/h/.vrift".into());
        assert!(!units.are_installed() && !units.remove().expect("nothing there"));
        units.write(Path::new("/bin/vriftd"), &home).expect("writes");
        units.write(Path::new("/bin/vriftd"), &home).expect("writes again");
        assert!(units.are_installed());
        let text = fs::read_to_string(units.socket()).expect("reads");
        assert!(text.contains("\nListenStream=/h/.vrift/run/vriftd.sock\n"), "{text}");
        assert!(units.remove().expect("removes") && !units.service().exists());
        fs::write(units.service(), "[Service]\n").expect("writes");
        assert!(units.write(Path::new("/bin/vriftd"), &home).is_err() && units.remove().is_err());
        assert!(!units.socket().exists() && units.service().exists());
    }

    #[test]
    fn odd_paths_are_quoted_or_refused() {
        let text = service_text(Path::new("/a b/$x/vriftd"), &Home::at("/h\"\\%u$HOME".into())).expect("quotes");
        let line = text.lines().find(|line| line.starts_with("ExecStart")).expect("a line");
        assert_eq!(line, r#"ExecStart="/a b/$x/vriftd" --serve --home "/h\"\\%%u$$HOME""#);
        assert!(service_text(Path::new("/a\nb"), &Home::at("/h".into())).is_err());
        let long = Home::at(format!("/{}", "h".repeat(100)).into());
        assert!(socket_text(&long).expect_err("too long").to_string().contains("VRIFT_HOME"));
    }
}
