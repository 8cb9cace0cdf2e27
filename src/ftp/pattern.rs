//! Patterns for names: `*`, `?` and `[a-z]`, as in `LIST *.txt` and `mget`. Names are bytes.
//!
//! For every pattern, matching takes at most the pattern's length times the name's length: only the last `*` is ever
//! retried.

/// Returns `true` if a word is a pattern.
#[must_use]
pub fn is_pattern(word: &[u8]) -> bool {
    word.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// Returns `true` if a name matches a pattern.
#[must_use]
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern_rest, mut name_rest) = (pattern, name);
    // The positions to continue from when the text after the last `*` does not match: that `*` takes one more byte.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', behind @ ..] = pattern_rest {
            retry = Some((behind, name_rest));
            pattern_rest = behind;
            continue;
        }
        match (name_rest, one(pattern_rest, name_rest.first().copied())) {
            ([_, name_behind @ ..], Some(pattern_behind)) => {
                (pattern_rest, name_rest) = (pattern_behind, name_behind);
            }
            ([], _) if pattern_rest.is_empty() => return true,
            _ => {
                let Some((behind_star, [_, name_behind @ ..])) = retry else { return false };
                retry = Some((behind_star, name_behind));
                (pattern_rest, name_rest) = (behind_star, name_behind);
            }
        }
    }
}

/// Returns the pattern after its first element, if that element matches the byte.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = byte?;
    match pattern {
        [b'?', behind @ ..] => Some(behind),
        [b'[', set @ ..] => match class(set, byte) {
            Some((fits, behind)) => fits.then_some(behind),
            // Not closed: a bracket like any other byte.
            None => (byte == b'[').then_some(set),
        },
        [literal, behind @ ..] => (*literal == byte).then_some(behind),
        [] => None,
    }
}

/// Returns whether a byte is in a set such as `a-z]` or `!0-9]`, and the pattern after the set; `None` if it is not
/// closed.
fn class(set: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match set {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    let mut first = true;
    loop {
        rest = match rest {
            // A bracket that comes first belongs to the set.
            [b']', behind @ ..] if !first => return Some((found != negated, behind)),
            [low, b'-', high, behind @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                behind
            }
            [only, behind @ ..] => {
                found |= *only == byte;
                behind
            }
            [] => return None,
        };
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, fitting: &[&str], others: &[&str]) {
        for name in fitting {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} should match {name}");
        }
        for name in others {
            assert!(
                !matches(pattern.as_bytes(), name.as_bytes()),
                "{pattern} should not match {name}"
            );
        }
    }

    #[test]
    fn stars_marks_and_sets_match_as_in_a_shell() {
        check("*.txt", &["a.txt", ".txt"], &["a.txt.gz", "txt"]);
        check("a*b*c", &["abc", "a-b-b-c", "abcbc"], &["ab", "acb", "abcd"]);
        check("?", &["a"], &["", "ab"]);
        check("*", &["", "a"], &[]);
        check("[a-c]x", &["ax", "cx"], &["dx", "x", "-x"]);
        check("[!a-c]", &["d", "-"], &["a", ""]);
        check("[]x]", &["]", "x"], &["[", ""]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[ab", &["[ab"], &["a"]);
        check("{a,b}", &["{a,b}"], &["a"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let (pattern, name) = (b"*a".repeat(2000), b"a".repeat(255));
        assert!(!matches(&[pattern, b"b".to_vec()].concat(), &name));
    }

    /// Matches in the obvious way, which takes exponential time at worst.
    fn obvious(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], _) => name.is_empty(),
            ([b'*', behind @ ..], _) => {
                (0..=name.len()).any(|taken| obvious(behind, &name[taken..]))
            }
            (_, []) => false,
            ([b'?', behind @ ..], [_, rest @ ..]) => obvious(behind, rest),
            ([literal, behind @ ..], [byte, rest @ ..]) => literal == byte && obvious(behind, rest),
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_obvious_way_gives(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            prop_assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), obvious(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn no_bytes_panic(pattern: Vec<u8>, name: Vec<u8>) {
            let _matches = matches(&pattern, &name);
        }
    }
}
