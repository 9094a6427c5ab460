//! What stands in front of the script: `vrift run --force build`.

use std::ffi::{OsStr, OsString};

use vrift_core::context::mode;

use crate::error::Error;

/// The options of `vrift run`. Those behind the script's name are the package manager's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Run for real, and record the result.
    pub force: bool,
    /// Run for real where there is no result, and do not record it.
    pub no_store: bool,
    /// Say what would be done, and do nothing.
    pub dry: bool,
    /// No banners, no summary.
    pub silent: bool,
    /// No error where there is no such script.
    pub if_present: bool,
    /// A file that receives what happened, as JSON.
    pub report: Option<OsString>,
    /// Packages of the workspace, by name or folder.
    pub workspaces: Vec<String>,
    /// All packages of the workspace.
    pub all: bool,
    /// What is left: the script and its arguments, or a command.
    pub words: Vec<OsString>,
    /// The words stand behind `--`: they are a command, and no script.
    pub command: bool,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// An option that does not exist, or has no value.
    pub fn parse(words: Vec<OsString>) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let text = word.to_str().unwrap_or_default();
            let (name, given) = match text.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
                _ => (text, None),
            };
            let mut value = || {
                let missing = || Error::Usage(format!("`vrift run {name}` needs a value"));
                given.clone().or_else(|| words.next()).ok_or_else(missing)
            };
            match name {
                "--" => {
                    options.command = true;
                    options.words = words.collect();
                    return Ok(options);
                }
                "--force" => options.force = true,
                "--no-store" => options.no_store = true,
                "--dry" | "--dry-run" => options.dry = true,
                "--silent" | "-s" => options.silent = true,
                "--if-present" => options.if_present = true,
                "--report" => options.report = Some(value()?).filter(|path| !path.is_empty()),
                "-w" | "--workspace" => options.workspaces.push(value()?.to_string_lossy().into_owned()),
                "-r" | "--recursive" | "--workspaces" | "-ws" => options.all = true,
                _ if text.starts_with('-') => {
                    return Err(Error::Usage(format!(
                        "`vrift run` has no option `{text}`; the script's own stand behind its name"
                    )));
                }
                _ => {
                    options.words = std::iter::once(word).chain(words).collect();
                    return Ok(options);
                }
            }
        }
        Ok(options)
    }

    /// Whether packages of a workspace are named.
    pub fn is_for_workspaces(&self) -> bool {
        self.all || !self.workspaces.is_empty()
    }

    /// What the package manager's `run` is given.
    pub fn manager_words(&self) -> Vec<OsString> {
        let silent = self.silent.then(|| OsString::from("--silent"));
        silent.into_iter().chain(self.words.iter().cloned()).collect()
    }

    /// The same for the programs that run actions, as letters of a context's mode.
    pub fn modes(&self) -> Vec<u8> {
        let letters = [(self.force, mode::RECACHE), (self.no_store, mode::NO_STORE), (self.dry, mode::DRY)];
        letters.into_iter().filter(|(wanted, _)| *wanted).map(|(_, letter)| letter).collect()
    }

    /// The script or program that is named.
    pub fn name(&self) -> &OsStr {
        self.words.first().map_or(OsStr::new(""), OsString::as_os_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Error> {
        Options::parse(line.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn options_end_at_the_script() {
        let options = parse("--force -w a --workspace=b --report out.json build --force -- x").expect("parses");
        assert!(options.force && !options.command && !options.dry);
        assert_eq!(options.workspaces, ["a", "b"]);
        assert_eq!(options.words, ["build", "--force", "--", "x"]);
        assert_eq!(options.report.as_deref(), Some(OsStr::new("out.json")));
        let command = parse("-- make -j8").expect("parses");
        assert!(command.command);
        assert_eq!(command.words, ["make", "-j8"]);
        assert!(parse("--frobnicate build").is_err());
        assert!(parse("build").is_ok_and(|options| options.name() == "build"));
        assert!(parse("-w").is_err());
    }
}
