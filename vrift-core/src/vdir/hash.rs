//! The VDir's one hash function: multiply and fold, as in wyhash. Fast on short input; not for adversaries, which is why paths
//! are hashed with a key that nobody can guess.

const K: [u64; 3] = [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db, 0x8ebc_6af0_9c88_c6e3];

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Up to 8 bytes as a number; together with their count it tells them.
#[inline(always)]
fn tail(bytes: &[u8]) -> u64 {
    if let (Some([a, b, c, d]), Some([w, x, y, z])) = (bytes.first_chunk(), bytes.last_chunk()) {
        return u64::from(u32::from_le_bytes([*a, *b, *c, *d])) | u64::from(u32::from_le_bytes([*w, *x, *y, *z])) << 32;
    }
    match *bytes {
        [a, .., z] => u64::from(a) | u64::from(bytes[bytes.len() / 2]) << 8 | u64::from(z) << 16,
        [a] => u64::from(a),
        [] => 0,
    }
}

/// Two independent hashes of a path below the root. `key` is the map's [`super::layout::KEY`].
#[inline]
pub fn path(key: [u64; 2], path: &[u8]) -> [u64; 2] {
    let (mut a, mut b) = (key[0], key[1]);
    let mut chunks = path.chunks_exact(16);
    for chunk in &mut chunks {
        let (x, y) = halves(chunk);
        a = fold(x ^ K[0], y ^ a);
        b = fold(y ^ K[1], x ^ b);
    }
    let rest = chunks.remainder();
    let (x, y) = if rest.len() > 8 { (tail(&rest[..8]), tail(&rest[8..])) } else { (tail(rest), 0) };
    let len = path.len() as u64;
    (a, b) = (fold(x ^ K[0], y ^ a), fold(y ^ K[1] ^ len, x ^ b));
    [fold(a ^ K[2], b ^ len), fold(b ^ K[0], a ^ K[1])]
}

/// The line of the index, of `lines`, that a search for the first half of a path's hash looks at after `probe` others.
#[inline(always)]
pub fn line(hash: u64, probe: u64, lines: u64) -> u64 {
    let first = ((u128::from(hash) * u128::from(lines)) >> 64) as u64;
    let line = first.wrapping_add(probe);
    if line < lines { line } else { (line - lines) % lines }
}

#[inline(always)]
fn halves(chunk: &[u8]) -> (u64, u64) {
    match *chunk {
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] => {
            (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p]))
        }
        _ => (0, 0),
    }
}

/// The check of some words, with a number that tells their place.
#[inline(always)]
pub fn words(words: impl IntoIterator<Item = u64>, place: u64) -> u64 {
    let mut hash = place ^ K[2];
    for word in words {
        hash = fold(word ^ K[0], hash ^ K[1]);
    }
    hash
}

/// The check of a name or a target.
#[inline]
pub fn name(name: &[u8]) -> u32 {
    path([K[1], K[2]], name)[0] as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn similar_paths_differ_in_both_halves() {
        let mut seen = [HashSet::new(), HashSet::new()];
        let mut count = 0;
        for n in 0..200_000_u32 {
            for text in [
                format!("src/{n}"),
                format!("node_modules/package-{n}/lib/index.js"),
                "a".repeat(n as usize % 64) + &n.to_string(),
            ] {
                let hash = path([1, 2], text.as_bytes());
                seen[0].insert((hash[0], text.clone()));
                seen[1].insert((hash[1], text));
            }
        }
        for half in &seen {
            let distinct: HashSet<u64> = half.iter().map(|(hash, _)| *hash).collect();
            count += 1;
            assert_eq!(distinct.len(), half.len());
        }
        assert_eq!(count, 2);
        assert_ne!(path([1, 2], b"x"), path([1, 3], b"x"));
        assert_ne!(path([1, 2], b""), path([1, 2], b"\0"));
    }

    #[test]
    fn lines_are_met_evenly_and_all_by_probing() {
        for lines in [1_u64, 2, 7, 1000, 4096] {
            let mut met = vec![0_u64; lines as usize];
            for n in 0..100 * lines {
                met[line(path([1, 2], &n.to_le_bytes())[0], 0, lines) as usize] += 1;
            }
            assert!(met.iter().all(|count| (30..300).contains(count)), "{lines}");
            for hash in [0, 1 << 40, u64::MAX] {
                let all: HashSet<u64> = (0..lines).map(|probe| line(hash, probe, lines)).collect();
                assert_eq!((all.len() as u64, all.iter().max()), (lines, Some(&(lines - 1))));
            }
        }
    }

    #[test]
    fn each_bit_of_each_length_counts() {
        for len in 1..70 {
            let mut text = vec![b'x'; len];
            let before = (path([5, 6], &text), name(&text));
            for at in 0..len {
                text[at] ^= 1;
                assert_ne!((path([5, 6], &text), name(&text)), before, "byte {at} of {len}");
                assert_ne!(path([5, 6], &text)[0], before.0[0]);
                text[at] ^= 1;
            }
        }
        assert_ne!(words([1, 2], 0), words([2, 1], 0));
        assert_ne!(words([1], 0), words([1], 1));
    }
}
