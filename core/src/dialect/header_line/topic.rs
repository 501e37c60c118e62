//! Names of topics, and patterns of them.

use alloc::string::String;
use alloc::vec::Vec;

use crate::message::Utf8Bytes;

/// The longest name, in bytes.
pub(super) const MAX_LENGTH: usize = 255;
/// The most levels of a name.
const MAX_LEVELS: usize = 5;

/// `Baggage.events.gate7`: one to five levels of letters and digits, each of
/// which begins with a letter.
pub(crate) fn is_name(name: &str) -> bool {
    has_levels(name, |level, _| is_level(level))
}

/// A name, or one with wildcards: `+` is any one level, `#` at the end any
/// number of levels and none.
pub(crate) fn is_pattern(name: &str) -> bool {
    has_levels(name, |level, last| {
        is_level(level) || level == "+" || (level == "#" && last)
    })
}

pub(crate) fn has_wildcards(pattern: &str) -> bool {
    pattern.contains(['+', '#'])
}

/// Names are the same in either case.
pub(crate) fn canonical(name: Utf8Bytes) -> Utf8Bytes {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name
    }
}

/// All patterns with wildcards that a name matches: at most 62, so that
/// looking for each is bounded, whoever subscribed to what.
pub(crate) fn patterns(name: &str) -> impl Iterator<Item = String> {
    let levels: Vec<&str> = name.split('.').take(MAX_LEVELS).collect();
    let all = levels.len();
    // Whether a level is a `+` is a bit.
    let exact = (1..1_u32 << all).map(move |pluses| (all, pluses, false));
    let open = (0..=all.min(MAX_LEVELS - 1))
        .flat_map(|depth| (0..1_u32 << depth).map(move |pluses| (depth, pluses, true)));
    exact.chain(open).map(move |(depth, pluses, hash)| {
        let level = |n: usize| if pluses >> n & 1 == 1 { "+" } else { levels[n] };
        let mut pattern = String::new();
        for level in (0..depth).map(level).chain(hash.then_some("#")) {
            if !pattern.is_empty() {
                pattern.push('.');
            }
            pattern.push_str(level);
        }
        pattern
    })
}

fn has_levels(name: &str, is_fine: impl Fn(&str, bool) -> bool) -> bool {
    if name.len() > MAX_LENGTH {
        return false;
    }
    let levels = name.split('.').count();
    levels <= MAX_LEVELS
        && name
            .split('.')
            .enumerate()
            .all(|(n, level)| is_fine(level, n + 1 == levels))
}

fn is_level(level: &str) -> bool {
    level.starts_with(|first: char| first.is_ascii_alphabetic())
        && level.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;

    use proptest::prelude::*;

    use super::*;

    /// The rule said another way.
    pub(crate) fn matches(pattern: &str, name: &str) -> bool {
        fn level_by_level(pattern: &[&str], name: &[&str]) -> bool {
            match (pattern, name) {
                (["#"], _) | ([], []) => true,
                ([one, pattern @ ..], [level, name @ ..]) => {
                    (one == level || *one == "+") && level_by_level(pattern, name)
                }
                _ => false,
            }
        }
        let pattern: Vec<_> = pattern.split('.').collect();
        let name: Vec<_> = name.split('.').collect();
        level_by_level(&pattern, &name)
    }

    #[test]
    fn names_have_up_to_five_levels_of_letters_and_digits() {
        let long = "a".repeat(MAX_LENGTH);
        for name in ["a", "events.user", "A1.b.C.d.e", &long] {
            assert!(is_name(name) && is_pattern(name), "{name}");
        }
        let longer = format!("{long}a");
        for name in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "1a",
            "a.1",
            "a-b",
            "a_b",
            "a b",
            "é",
            "a.b.c.d.e.f",
            "a:b",
            "a\0",
            &longer,
        ] {
            assert!(!is_name(name) && !is_pattern(name), "{name}");
        }
    }

    #[test]
    fn patterns_have_wildcards_for_whole_levels() {
        for name in ["+", "#", "a.+", "a.#", "+.b.#", "a.+.c.+.#", "+.+.+.+.+"] {
            assert!(!is_name(name) && is_pattern(name), "{name}");
        }
        for name in ["#.a", "a.#.b", "a+", "+a", "##", "a.b.c.d.e.#", "a.*", ">"] {
            assert!(!is_name(name) && !is_pattern(name), "{name}");
        }
    }

    #[test]
    fn case_makes_no_difference() {
        assert_eq!(canonical("Events.USER".into()), "events.user");
        assert_eq!(canonical("events.user1".into()), "events.user1");
    }

    #[test]
    fn few_patterns_can_match_a_name() {
        for (name, count) in [("a", 4), ("a.b", 10), ("a.b.c.d", 46), ("a.b.c.d.e", 62)] {
            let all: BTreeSet<String> = patterns(name).collect();
            assert_eq!(
                (patterns(name).count(), all.len()),
                (count, count),
                "{name}"
            );
            assert!(all.iter().all(|pattern| is_pattern(pattern)));
        }
    }

    proptest! {
        #[test]
        fn a_name_matches_just_those_patterns(
            name in "[ab](\\.[ab]){0,4}",
            pattern in "([ab+](\\.[ab+]){0,3}(\\.#)?|[ab+](\\.[ab+]){4}|#)",
        ) {
            let expected = has_wildcards(&pattern) && matches(&pattern, &name);
            prop_assert_eq!(patterns(&name).any(|one| one == pattern), expected);
        }
    }
}
