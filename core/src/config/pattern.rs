//! Patterns of CONFIG GET: `*`, `?`, `[abc]`, `[^a-z]` and `\`, without regard to case.

/// Whether a name matches a pattern.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([b'*', rest @ ..], _) => matches(rest, name) || (!name.is_empty() && matches(pattern, &name[1..])),
        ([b'?', rest @ ..], [_, behind @ ..]) => matches(rest, behind),
        ([b'[', rest @ ..], [byte, behind @ ..]) => {
            let (inside, rest) = in_set(rest, byte.to_ascii_lowercase());
            inside && matches(rest, behind)
        }
        ([b'\\', literal, rest @ ..] | [literal, rest @ ..], [byte, behind @ ..]) => {
            literal.eq_ignore_ascii_case(byte) && matches(rest, behind)
        }
        (pattern, name) => pattern.is_empty() && name.is_empty(),
    }
}

/// Whether `byte` is in the set that `pattern` begins with, and what is behind the set.
fn in_set(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let end = pattern.iter().position(|&b| b == b']').unwrap_or(pattern.len());
    let (set, rest) = (&pattern[..end], pattern.get(end + 1..).unwrap_or_default());
    let (negated, mut set) = set.strip_prefix(b"^").map_or((false, set), |set| (true, set));
    let mut inside = false;
    while let [first, behind @ ..] = set {
        let (last, behind) = match behind {
            [b'-', last, behind @ ..] => (last, behind),
            _ => (first, behind),
        };
        inside |= (first.to_ascii_lowercase()..=last.to_ascii_lowercase()).contains(&byte);
        set = behind;
    }
    (inside != negated, rest)
}
