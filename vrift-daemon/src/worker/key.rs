//! The key of an action.
//!
//! | part | in the key | why |
//! |---|---|---|
//! | kind of program | yes | rules differ |
//! | program's content | yes | another compiler, another result |
//! | program's path | yes, known roots replaced | programs find their libraries by it, and some print it (`rustc --print sysroot`) |
//! | arguments | those that matter, known roots replaced | see [`rules::request_argv`] |
//! | data on standard input | its digest, where the command may read it | it may be the source |
//! | sources of a configure script | their digests ([`rules::is_of_configure`]) | hundreds of its commands are the same otherwise |
//! | prefix maps switched off | as a text | debug information then names the checkout |
//! | terminals, an open standard input | of scripts, as texts | what is said to a terminal has colours; who finds input may read it |
//! | this processor | where an argument asks for its kind (`-march=native`) | it decides which instructions are used |
//! | working folder | yes, known roots replaced; not for [probes](rules::is_probe) | relative paths start there |
//! | umask | yes | modes of outputs |
//! | variables of [`rules::key_env`] | yes, known roots replaced, by name | they steer the loader, or tell variants apart |
//! | other variables, files, absent files, listings | no | they are inputs: each stored result says which it depends on |
//!
//! A known root (project, target, Cargo's home, …) is a placeholder in all of them: the key is the same in every checkout.

use vrift_core::action::Request;
use vrift_core::bytes::ByteText;
use vrift_core::digest::{Digest, FieldHasher};
use vrift_core::paths::{AbsPath, TemplateText};
use vrift_core::rules;
use vrift_core::wire::LookupParams;

use super::processor;

/// Keeps these digests apart from any other; a new number makes every stored action unreachable.
const DOMAIN: &str = "vrift-action-2";

/// What is asked for, without this checkout's paths.
pub fn request(params: &LookupParams, program_digest: Digest) -> Request {
    let cwd = if rules::is_probe(params.tool, &params.argv) { &AbsPath::root() } else { &params.cwd };
    let mut argv = rules::request_argv(params.tool, &params.argv, &params.roots);
    let mut more = |text: String| argv.push(TemplateText { bytes: text.as_str().into(), ..TemplateText::default() });
    if let Some(stdin) = params.stdin {
        more(format!("<standard input {stdin}>"));
    }
    params.surroundings.iter().for_each(|text| more(format!("<{text}>")));
    if params.argv.iter().any(|arg| rules::is_for_this_processor(arg)) {
        more(format!("<this processor {}>", processor::digest()));
    }
    Request {
        tool: params.tool,
        program: params.roots.template_path(&params.program),
        program_digest,
        argv,
        cwd: params.roots.template_path(cwd),
        umask: params.umask,
    }
}

/// The key of `request`, made from `params`.
pub fn key(request: &Request, params: &LookupParams) -> Digest {
    let mut hasher = FieldHasher::new(DOMAIN);
    hasher.number(request.tool as u64).field(request.program.as_bytes()).field(request.program_digest.as_bytes());
    hasher.number(request.argv.len() as u64);
    for arg in &request.argv {
        hasher.field(&arg.bytes);
    }
    hasher.field(request.cwd.as_bytes()).number(u64::from(request.umask));
    let mut vars: Vec<(&[u8], &[u8])> =
        params.env.iter().filter_map(split).filter(|(name, _)| rules::key_env(params.tool, name)).collect();
    vars.sort_unstable();
    for (name, value) in vars {
        hasher.field(name).field(&params.roots.template_text(value).bytes);
    }
    hasher.finish()
}

/// Name and value of a variable.
pub fn split(entry: &ByteText) -> Option<(&[u8], &[u8])> {
    // A name may start with `=`, and then holds it: no shell makes such a thing, but `execve` takes it.
    let at = 1 + entry.get(1..)?.iter().position(|c| *c == b'=')?;
    Some((&entry[..at], &entry[at + 1..]))
}

#[cfg(test)]
mod tests {
    use vrift_core::action::Tool;
    use vrift_core::paths::{AbsPath, Root, Roots};

    use super::*;

    fn abs(path: &str) -> AbsPath {
        AbsPath::new(path.as_bytes()).expect("absolute")
    }

    fn params(root: &str) -> LookupParams {
        LookupParams {
            protocol: vrift_core::PROTOCOL_VERSION,
            session: String::new(),
            tool: Tool::BuildScript,
            program: abs(&format!("{root}/target/build/x/build-script-build")),
            argv: vec![ByteText::from("build-script-build"), format!("--out={root}/target").as_str().into()],
            cwd: abs(root),
            env: vec!["CARGO_FEATURE_A=1".into(), "TERM=xterm".into(), format!("LD_LIBRARY_PATH={root}/lib").as_str().into()],
            umask: 0o22,
            roots: Roots::new([(Root::Project, abs(root))]),
            recache: false,
            stdin: None,
            surroundings: Vec::new(),
            script: ByteText::default(),
            plain_text: false,
            nested: false,
        }
    }

    fn of(params: &LookupParams) -> Digest {
        key(&request(params, Digest::of(b"program")), params)
    }

    #[test]
    fn checkouts_and_terminals_share_a_key() {
        let here = params("/w/a");
        let mut there = params("/elsewhere/b");
        there.env[1] = "TERM=dumb".into();
        there.env.swap(0, 2);
        assert_eq!(of(&here), of(&there));
    }

    #[test]
    fn everything_in_the_table_tells_keys_apart() {
        let base = of(&params("/w/a"));
        let changed = |change: fn(&mut LookupParams)| {
            let mut params = params("/w/a");
            change(&mut params);
            of(&params)
        };
        let others = [
            changed(|p| p.tool = Tool::Script),
            changed(|p| p.program = abs("/w/a/target/build/y/build-script-build")),
            changed(|p| p.argv.push("-x".into())),
            changed(|p| p.argv[1] = "--out=/w/a/other".into()),
            changed(|p| p.cwd = abs("/w/a/sub")),
            changed(|p| p.umask = 0),
            changed(|p| p.stdin = Some(Digest::of(b"int x;"))),
            changed(|p| p.stdin = Some(Digest::of(b"int y;"))),
            changed(|p| p.surroundings.push("output to a terminal".to_owned())),
            changed(|p| p.argv.push("-march=native".into())),
            changed(|p| p.env[0] = "CARGO_FEATURE_A=".into()),
            changed(|p| p.env.truncate(2)),
        ];
        assert!(!others.contains(&base));
        let content = key(&request(&params("/w/a"), Digest::of(b"other")), &params("/w/a"));
        assert_ne!(content, base);
    }

    #[test]
    fn variables_split_at_the_first_sign_that_can_be_one() {
        let of = |text: &str| split(&ByteText::from(text)).map(|(n, v)| (n.to_vec(), v.to_vec()));
        assert_eq!(of("A=b=c"), Some((b"A".to_vec(), b"b=c".to_vec())));
        assert_eq!(of("A="), Some((b"A".to_vec(), vec![])));
        assert_eq!(of("=X=1"), Some((b"=X".to_vec(), b"1".to_vec())));
        assert_eq!(of("A"), None);
        assert_eq!(of(""), None);
    }
}
