//! Names of actions for people.

use crate::action::Tool;
use crate::bytes::ByteText;

/// A short name that is the same for every run of the same piece of work: `serde 1.0.219 lib`, `cc zlib.c`.
pub fn label(tool: Tool, argv: &[ByteText], env: &[ByteText]) -> String {
    let var = |name: &str| {
        env.iter()
            .find_map(|e| e.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .map(|v| String::from_utf8_lossy(v).into_owned())
    };
    let package = || {
        let words = [var("CARGO_PKG_NAME"), var("CARGO_PKG_VERSION")];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    match tool {
        Tool::Rustc | Tool::Clippy | Tool::Rustdoc => rust(tool, argv, &var("CARGO_PKG_VERSION").unwrap_or_default()),
        Tool::BuildScript => format!("{} build script run", package()),
        Tool::Script => script(argv, &var).unwrap_or_else(|| plain(argv)),
        Tool::Cc | Tool::Ar | Tool::Ld | Tool::As | Tool::Objcopy | Tool::Build => plain(argv),
    }
}

fn rust(tool: Tool, argv: &[ByteText], version: &str) -> String {
    let after =
        |flag: &str| argv.iter().position(|a| **a == *flag.as_bytes()).and_then(|at| argv.get(at + 1)).map(|v| v.display());
    let Some(name) = after("--crate-name").filter(|n| n != "___") else {
        let words: Vec<_> = argv.iter().skip(1).take(2).map(|a| a.display().into_owned()).collect();
        return format!("{} {}", tool.name(), words.join(" "));
    };
    let has = |arg: &str| argv.iter().any(|a| **a == *arg.as_bytes());
    let emit = argv.iter().find_map(|a| a.strip_prefix(b"--emit=")).unwrap_or_default();
    let links = emit.is_empty() || emit.split(|c| *c == b',').any(|e| e == b"link");
    let kind = match tool {
        Tool::Rustdoc if has("--test") => "doctest".to_owned(),
        Tool::Rustdoc => "doc".to_owned(),
        _ if has("--test") => "test".to_owned(),
        _ => after("--crate-type").map_or_else(|| "bin".to_owned(), |kind| kind.into_owned()),
    };
    let mode = match tool {
        Tool::Clippy => " clippy",
        Tool::Rustc if !links => " check",
        _ => "",
    };
    let space = if version.is_empty() { "" } else { " " };
    format!("{name}{space}{version} {kind}{mode}")
}

/// A step of a package's script: `app build`.
fn script(argv: &[ByteText], var: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let event = var("npm_lifecycle_event").filter(|_| argv.len() == 3 && *argv[1] == *b"-c")?;
    Some(var("npm_package_name").map_or_else(|| event.clone(), |name| format!("{name} {event}")))
}

fn plain(argv: &[ByteText]) -> String {
    let base = |arg: &ByteText| String::from_utf8_lossy(arg.rsplit(|c| *c == b'/').next().unwrap_or_default()).into_owned();
    let name = argv.first().map(base).unwrap_or_default();
    let output = argv.iter().position(|a| **a == *b"-o").and_then(|at| argv.get(at + 1));
    let object = output.or_else(|| argv.iter().skip(1).rev().find(|a| !a.starts_with(b"-")));
    match object {
        Some(object) => format!("{name} {}", base(object)),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tool: Tool, argv: &str, env: &[&str]) -> String {
        let argv: Vec<_> = argv.split(' ').map(ByteText::from).collect();
        let env: Vec<_> = env.iter().copied().map(ByteText::from).collect();
        label(tool, &argv, &env)
    }

    #[test]
    fn labels_name_the_work() {
        let env = ["CARGO_PKG_NAME=serde", "CARGO_PKG_VERSION=1.0.2"];
        assert_eq!(
            of(Tool::Rustc, "rustc --crate-name serde --crate-type lib --emit=dep-info,metadata,link", &env),
            "serde 1.0.2 lib"
        );
        assert_eq!(
            of(Tool::Rustc, "rustc --crate-name serde --crate-type lib --emit=dep-info,metadata", &env),
            "serde 1.0.2 lib check"
        );
        assert_eq!(of(Tool::Rustc, "rustc -vV", &[]), "rustc -vV");
        assert_eq!(of(Tool::BuildScript, "/t/build-script-build", &env), "serde 1.0.2 build script run");
        let script = ["npm_lifecycle_event=build", "npm_package_name=@s/app"];
        assert_eq!(of(Tool::Script, "sh -c tsc", &script), "@s/app build");
        assert_eq!(of(Tool::Script, "protoc x.proto", &script), "protoc x.proto");
        assert_eq!(of(Tool::Cc, "/usr/bin/cc -O2 -c a/zlib.c -o b/zlib.o", &[]), "cc zlib.o");
    }
}
