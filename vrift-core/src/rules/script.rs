//! What of an npm script's surroundings counts.
//!
//! Node hands a program its whole environment, so all of it counts but what is listed here and in
//! [`super::environment`], even where a program asks for it by name: every library that colours its output asks for a dozen of
//! them. A setting adds to both sides.
//!
//! Caches that a tool keeps for itself are neither inputs nor outputs. To be on this list a cache must decide how fast a tool is
//! and nothing else: a tool that leaves out an output because its cache says that it is there already (`tsc` with a
//! `.tsbuildinfo`) is not helped by a cache alone, so such files are ordinary inputs and outputs.

use super::environment::is_session_noise;
use crate::bytes::ByteText;
use crate::paths::{AbsPath, Root, Roots};

/// Variables that tell one run of a continuous integration from another, and where its runner keeps things. The numbers that runs are
/// counted by are not among them: they end up in versions.
const NOISE: &[&str] = &[
    "ACTIONS_CACHE_URL",
    "ACTIONS_RUNTIME_TOKEN",
    "ACTIONS_RUNTIME_URL",
    "BUILDKITE_BUILD_ID",
    "BUILDKITE_BUILD_URL",
    "BUILDKITE_JOB_ID",
    "BUILD_BUILDID",
    "BUILD_URL",
    "CIRCLE_BUILD_URL",
    "CIRCLE_WORKFLOW_ID",
    "CIRCLE_WORKFLOW_JOB_ID",
    "CI_JOB_ID",
    "CI_JOB_STARTED_AT",
    "CI_JOB_TOKEN",
    "CI_JOB_URL",
    "CI_PIPELINE_ID",
    "CI_PIPELINE_URL",
    "GITHUB_ACTION",
    "GITHUB_ENV",
    "GITHUB_OUTPUT",
    "GITHUB_PATH",
    "GITHUB_RETENTION_DAYS",
    "GITHUB_RUN_ATTEMPT",
    "GITHUB_RUN_ID",
    "GITHUB_STATE",
    "GITHUB_STEP_SUMMARY",
    "NODE_COMPILE_CACHE",
    "RUNNER_NAME",
    "RUNNER_TRACKING_ID",
    "TEMP",
    "TMP",
    "TMPDIR",
];

/// Folders and files of caches, by their last parts. A part that starts with a star is an ending.
const CACHES: &[&[&[u8]]] = &[
    &[b"node_modules", b".cache"],
    &[b"node_modules", b".vite"],
    &[b"node_modules", b".vite-temp"],
    &[b"node_modules", b".vitest"],
    // What a page was made from (`fetch-cache`, `images`) is in its neighbours.
    &[b".next", b"cache", b"webpack"],
    &[b".next", b"cache", b"swc"],
    &[b".next", b"cache", b"eslint"],
    &[b".next", b"cache", b"turbopack"],
    &[b".nuxt", b"cache"],
    &[b".angular", b"cache"],
    &[b".parcel-cache"],
    &[b".eslintcache"],
    &[b".stylelintcache"],
    &[b".prettiercache"],
    &[b".rpt2_cache"],
    &[b".turbo"],
];

/// The same in the folder for temporary files: what its name starts with.
const TEMPORARY: &[&[u8]] =
    &[b"jest_", b"node-compile-cache", b"node-jiti", b"jiti", b"tsx-", b"v8-compile-cache-", b"vitest-", b"yarn--"];

/// The same in the home: where npm writes down what it did.
const HOME: &[&[u8]] = &[b".npm/_logs", b".npm/_update-notifier-last-checked", b".npm/_cacache/tmp"];

/// What settings add, as one text a line: `-NAME` is no input, `+NAME` is one, `~a/b` is a cache.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScriptRules {
    ignored: Vec<Vec<u8>>,
    watched: Vec<Vec<u8>>,
    caches: Vec<Vec<u8>>,
}

impl ScriptRules {
    /// Reads the lines.
    pub fn parse(lines: &[u8]) -> Self {
        let mut rules = Self::default();
        for line in lines.split(|c| *c == b'\n') {
            let list = match line.first() {
                Some(b'-') => &mut rules.ignored,
                Some(b'+') => &mut rules.watched,
                Some(b'~') => &mut rules.caches,
                _ => continue,
            };
            list.push(line[1..].to_vec());
        }
        rules
    }

    /// Writes them.
    pub fn lines(ignored: &[String], watched: &[String], caches: &[String]) -> ByteText {
        let lists = [("-", ignored), ("+", watched), ("~", caches)];
        let lines: Vec<String> =
            lists.iter().flat_map(|(sign, list)| list.iter().map(move |item| format!("{sign}{item}"))).collect();
        ByteText::from(lines.join("\n").as_str())
    }

    /// Whether a variable is no input.
    pub fn is_noise(&self, name: &[u8]) -> bool {
        if self.watched.iter().any(|pattern| matches(pattern, name)) {
            return crate::env::is_own(name);
        }
        is_session_noise(name)
            || NOISE.iter().any(|noise| noise.as_bytes() == name)
            || self.ignored.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether a path is a tool's cache, or in one.
    pub fn is_cache(&self, path: &AbsPath, roots: &Roots) -> bool {
        let below = |root: Root| roots.get(root).and_then(|at| path.below(at));
        let inside =
            |rest: &[u8], name: &[u8]| rest.strip_prefix(name).is_some_and(|end| end.is_empty() || end.starts_with(b"/"));
        if below(Root::Tmp).is_some_and(|rest| TEMPORARY.iter().any(|start| rest.starts_with(start)))
            || below(Root::Home).is_some_and(|rest| HOME.iter().any(|name| inside(rest, name)))
        {
            return true;
        }
        let Some(rest) = below(Root::Project) else { return false };
        let parts: Vec<&[u8]> = rest.split(|c| *c == b'/').collect();
        let known = |pattern: &[&[u8]]| parts.windows(pattern.len()).any(|window| window == pattern);
        let added = |pattern: &Vec<u8>| {
            let pattern: Vec<&[u8]> = pattern.split(|c| *c == b'/').filter(|part| !part.is_empty()).collect();
            !pattern.is_empty()
                && parts
                    .windows(pattern.len())
                    .any(|window| window.iter().zip(&pattern).all(|(part, wanted)| matches(wanted, part)))
        };
        CACHES.iter().any(|pattern| known(pattern)) || self.caches.iter().any(added)
    }
}

/// Whether a name is the pattern, or starts with it where it ends in a star, or ends with it where it starts with one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.strip_prefix(b"*"), pattern.strip_suffix(b"*")) {
        (Some(end), _) => name.ends_with(end),
        (_, Some(start)) => name.starts_with(start),
        _ => pattern == name,
    }
}

/// Whether the file steers what a tool writes, so that it is read and written although nothing of an earlier run shows in the
/// result: what TypeScript writes beside its output.
pub fn is_build_info(name: &[u8]) -> bool {
    name.ends_with(b".tsbuildinfo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_add_to_both_sides() {
        let lines = ScriptRules::lines(&["SENTRY_*".into()], &["TERM".into()], &[".mine".into(), "gen/*.cache".into()]);
        let rules = ScriptRules::parse(&lines);
        for name in ["SENTRY_DSN", "GITHUB_RUN_ID", "CLAUDE_CODE_ENTRYPOINT", "PWD", "CI_JOB_ID", "VRIFT_CONTEXT"] {
            assert!(rules.is_noise(name.as_bytes()), "{name}");
        }
        for name in [
            "TERM",
            "NODE_ENV",
            "GITHUB_SHA",
            "GITHUB_RUN_NUMBER",
            "GEMINI_API_KEY",
            "SESSION_TTL",
            "CI",
            "npm_config_user_agent",
            "FORCE_COLOR",
        ] {
            assert!(!rules.is_noise(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn caches_are_told_by_their_names() {
        let abs = |path: &str| AbsPath::new(path.as_bytes()).expect("absolute");
        let roots = Roots::new([(Root::Project, abs("/w/a")), (Root::Tmp, abs("/tmp")), (Root::Home, abs("/home/u"))]);
        let rules = ScriptRules::parse(b"~.mine\n~gen/*.cache");
        let is = |path: &str| rules.is_cache(&abs(path), &roots);
        for path in [
            "/w/a/node_modules/.cache",
            "/w/a/p/x/node_modules/.cache/babel/1",
            "/w/a/.eslintcache",
            "/w/a/.next/cache/webpack/x",
            "/w/a/.mine/x",
            "/w/a/gen/x.cache",
            "/tmp/jest_rs/x",
            "/home/u/.npm/_logs/2026.log",
        ] {
            assert!(is(path), "{path}");
        }
        for path in [
            "/w/a/.cache",
            "/w/a/node_modules/x",
            "/w/a/tsconfig.tsbuildinfo",
            "/w/a/.next/x",
            "/w/a/.next/cache/fetch-cache/x",
            "/x/.eslintcache",
            "/tmp/x",
        ] {
            assert!(!is(path), "{path}");
        }
        assert!(is_build_info(b"tsconfig.app.tsbuildinfo"));
    }
}
