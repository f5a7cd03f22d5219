//! Glob patterns as KEYS, SCAN, CONFIG GET and PSUBSCRIBE understand them.
//!
//! `*` any run of bytes, `?` one byte, `[abc]`, `[^a-f]` one byte of a set, `\` takes the next byte literally.
//! Every element but `*` eats exactly one byte, so only the last `*` ever has to be tried again: matching takes at
//! most pattern × text steps, whatever the pattern.

/// A pattern with more groups of stars before its end than this matches nothing, as in Valkey.
const STAR_GROUPS: usize = 1001;

/// Whether `text` matches `pattern`.
///
/// ```
/// use whimbrel_core::command::glob::matches;
/// assert!(matches(b"user:*:[0-9]", b"user:anna:7"));
/// assert!(!matches(b"user:\\*", b"user:anna"));
/// ```
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    search::<false>(pattern, text)
}

/// Whether `text` matches `pattern` when upper and lower case of ASCII letters count as the same.
#[must_use]
pub fn matches_nocase(pattern: &[u8], text: &[u8]) -> bool {
    search::<true>(pattern, text)
}

fn search<const NOCASE: bool>(mut pattern: &[u8], mut text: &[u8]) -> bool {
    if text.is_empty() {
        // Not even `*` matches the empty text: Valkey's loop never looks at the pattern then.
        return pattern.is_empty();
    }
    // Where to go on when the rest does not match: behind the last star, one byte of text further.
    let mut again: Option<(&[u8], &[u8])> = None;
    let mut groups = 0;
    loop {
        if let [b'*', ..] = pattern {
            pattern = without_stars(pattern);
            if pattern.is_empty() {
                return true;
            }
            if text.is_empty() {
                return false;
            }
            groups += 1;
            if groups == STAR_GROUPS {
                return false;
            }
            again = Some((pattern, &text[1..]));
            continue;
        }
        match text.split_first() {
            None if pattern.is_empty() => return true,
            // More text was eaten than there is: a later start cannot help.
            None => return false,
            Some((&byte, rest)) => {
                if let Some(behind) = one::<NOCASE>(pattern, byte) {
                    (pattern, text) = (behind, rest);
                    continue;
                }
            }
        }
        match again {
            Some((behind_star, from)) if !from.is_empty() => {
                (pattern, text) = (behind_star, from);
                again = Some((behind_star, &from[1..]));
            }
            _ => return false,
        }
    }
}

fn without_stars(pattern: &[u8]) -> &[u8] {
    &pattern[pattern.iter().take_while(|&&b| b == b'*').count()..]
}

/// Matches the first element of `pattern`, which is no star, against `byte`; returns what is behind the element.
fn one<const NOCASE: bool>(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (&first, rest) = pattern.split_first()?;
    let (literal, rest) = match first {
        b'?' => return Some(rest),
        b'[' => {
            let (hit, rest) = set::<NOCASE>(rest, byte);
            return hit.then_some(rest);
        }
        b'\\' => rest.split_first().map_or((first, rest), |(&escaped, rest)| (escaped, rest)),
        _ => (first, rest),
    };
    same::<NOCASE>(literal, byte).then_some(rest)
}

/// Whether `byte` is in the set that begins behind `[`, and what is behind the set. A set without `]` ends with the
/// pattern.
fn set<const NOCASE: bool>(mut pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let negated = pattern.first() == Some(&b'^');
    if negated {
        pattern = &pattern[1..];
    }
    let mut hit = false;
    let rest = loop {
        pattern = match *pattern {
            [] => break pattern,
            // An escaped byte is compared as it is, whatever the case rule.
            [b'\\', escaped, ..] => {
                hit |= escaped == byte;
                &pattern[2..]
            }
            [b']', ..] => break &pattern[1..],
            [from, b'-', to, ..] => {
                hit |= within::<NOCASE>(from, to, byte);
                &pattern[3..]
            }
            [member, ..] => {
                hit |= same::<NOCASE>(member, byte);
                &pattern[1..]
            }
        };
    };
    (hit != negated, rest)
}

/// Ranges go by signed bytes, as C's `char` does where Valkey usually runs, and their ends may come in any order.
fn within<const NOCASE: bool>(from: u8, to: u8, byte: u8) -> bool {
    let (from, to) = if from as i8 > to as i8 { (to, from) } else { (from, to) };
    let fold = |b: u8| if NOCASE { b.to_ascii_lowercase() as i8 } else { b as i8 };
    (fold(from)..=fold(to)).contains(&fold(byte))
}

fn same<const NOCASE: bool>(a: u8, b: u8) -> bool {
    if NOCASE { a.eq_ignore_ascii_case(&b) } else { a == b }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn elements_of_patterns() {
        for (pattern, text, hit) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", false),
            ("**", "", false),
            ("*", "a", true),
            ("***", "abc", true),
            ("a*", "a", true),
            ("a**", "a", true),
            ("a*b", "ab", true),
            ("a*b", "axxbxb", true),
            ("a*b", "axxbx", false),
            ("*a*b*", "xxaxxbxx", true),
            ("?", "", false),
            ("?", "a", true),
            ("??", "a", false),
            ("a?c", "abc", true),
            ("*?", "abc", true),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h[a-b]llo", "hcllo", false),
            ("[]", "a", false),
            ("[]", "]", false),
            ("[^]", "a", true),
            ("[a]]", "a]", true),
            ("[\\]]", "]", true),
            ("[\\^]", "^", true),
            ("[a^]", "^", true),
            ("[a-]", "-", false),
            ("[a-]]", "b", false),
            ("[a-]", "a", true),
            ("[a-\\]", "b", false),
            ("[abc", "b", true),
            ("[abc", "d", false),
            ("[a-", "-", true),
            ("[", "[", false),
            ("[^", "x", true),
            ("[\\", "\\", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("a\\", "a\\", true),
            ("\\\\", "\\", true),
            ("A", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), hit, "{pattern} {text}");
        }
    }

    #[test]
    fn case_can_be_ignored() {
        for (pattern, text, hit) in [
            ("MAX*", "maxmemory", true),
            ("[A-C]x", "bX", true),
            ("[A-C]", "d", false),
            ("[\\A]", "a", false),
            ("\\A", "a", true),
            ("[Z-a]", "z", false),
        ] {
            assert_eq!(matches_nocase(pattern.as_bytes(), text.as_bytes()), hit, "{pattern} {text}");
        }
    }

    #[test]
    fn ranges_are_signed() {
        assert!(matches(b"[\x80-\xff]", b"\xc3"));
        assert!(matches(b"[a-\xff]", b"A"));
        assert!(!matches(b"[a-\xff]", b"b"));
    }

    /// The definition, told without any thought of cost.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        if let [b'*', rest @ ..] = pattern {
            return (0..=text.len()).any(|eaten| naive(rest, &text[eaten..]));
        }
        match text.split_first() {
            None => pattern.is_empty(),
            Some((&byte, rest)) => one::<false>(pattern, byte).is_some_and(|behind| naive(behind, rest)),
        }
    }

    #[test]
    fn backing_up_to_the_last_star_is_enough() {
        for seed in 0..20_000 {
            let mut rng = Rng::new(seed);
            let mut draw = |from: &[u8], most: usize| -> Vec<u8> {
                (0..rng.index(most + 1)).map(|_| from[rng.index(from.len())]).collect()
            };
            let (pattern, text) = (draw(b"ab*?[]^-\\", 8), draw(b"ab-]^", 8));
            if !text.is_empty() {
                let (fast, slow) = (matches(&pattern, &text), naive(&pattern, &text));
                assert_eq!(fast, slow, "seed {seed}: {:?} {:?}", pattern.escape_ascii(), text.escape_ascii());
            }
        }
    }

    #[test]
    fn abusive_patterns_cost_little() {
        let text = [b'a'; 5000];
        let mut pattern = Vec::new();
        for _ in 0..1000 {
            pattern.extend_from_slice(b"a*");
        }
        assert!(matches(&pattern, &text));
        pattern.push(b'b');
        assert!(!matches(&pattern, &text));
        pattern.pop();
        pattern.extend_from_slice(b"a*a*a");
        assert!(!matches(&pattern, &text), "more groups of stars than Valkey follows");
    }
}
