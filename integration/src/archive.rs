//! Static libraries, compared by what is in them.

/// A digest of an archive's members that does not depend on what rustc makes up anew for each incremental run: the
/// objects' names carry a random word, by which they are also sorted. The symbol table, which holds offsets alone, follows
/// from the rest. `None` where the bytes are no archive.
pub fn loose_digest(archive: &[u8]) -> Option<blake3::Hash> {
    let mut rest = archive.strip_prefix(b"!<arch>\n")?;
    let mut names: &[u8] = &[];
    let mut members = Vec::new();
    while rest.len() >= 60 {
        let (header, after) = rest.split_at(60);
        let size: usize = std::str::from_utf8(&header[48..58]).ok()?.trim().parse().ok()?;
        let content = after.get(..size)?;
        let name = std::str::from_utf8(&header[..16]).ok()?.trim_end();
        match name {
            "/" | "/SYM64/" => {}
            "//" => names = content,
            _ => members.push((plain_name(&long_name(name, names)), blake3::hash(content))),
        }
        // Members start at even offsets.
        rest = after.get(size + size % 2..).unwrap_or_default();
    }
    members.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.as_bytes().cmp(b.1.as_bytes())));
    let mut hasher = blake3::Hasher::new();
    for (name, digest) in members {
        hasher.update(name.as_bytes()).update(&[0]).update(digest.as_bytes());
    }
    Some(hasher.finalize())
}

/// A member's name: `/123` is the place of a long one in the table.
fn long_name(name: &str, names: &[u8]) -> String {
    let place = name.strip_prefix('/').and_then(|digits| digits.parse::<usize>().ok());
    match place.and_then(|at| names.get(at..)) {
        Some(long) => String::from_utf8_lossy(long.split(|c| *c == b'\n').next().unwrap_or_default()).into_owned(),
        None => name.to_owned(),
    }
}

/// `crate-hash.unit.random.rcgu.o` without the random word.
fn plain_name(name: &str) -> String {
    let name = name.trim_end_matches('/');
    match name.strip_suffix(".rcgu.o").and_then(|stem| stem.rsplit_once('.')) {
        Some((stem, _)) => format!("{stem}.rcgu.o"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &str)]) -> Vec<u8> {
        let mut out = b"!<arch>\n".to_vec();
        for (name, content) in members {
            out.extend_from_slice(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, content.len()).as_bytes());
            out.extend_from_slice(content.as_bytes());
            if content.len() % 2 == 1 {
                out.push(b'\n');
            }
        }
        out
    }

    #[test]
    fn random_words_do_not_count() {
        let names = |word: &str| format!("a.0.{word}.rcgu.o/\nb.0.{word}.rcgu.o/\n");
        let (one, two) = (names("xyz"), names("uvw12"));
        let left = archive(&[("//", &one), ("/0", "AAA"), ("/18", "BB")]);
        let right = archive(&[("//", &two), ("/0", "AAA"), ("/20", "BB")]);
        let other = archive(&[("//", &two), ("/0", "AAA"), ("/20", "BX")]);
        assert_eq!(loose_digest(&left), loose_digest(&right));
        assert!(loose_digest(&left).is_some());
        assert_ne!(loose_digest(&left), loose_digest(&other));
        assert_eq!(loose_digest(b"text"), None);
    }
}
