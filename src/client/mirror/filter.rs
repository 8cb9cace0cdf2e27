//! The choice of items by `--include` and `--exclude`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

/// Include and exclude patterns, in the order in which they were given. The last pattern that matches decides.
///
/// A pattern with a slash is compared with the path from the directory that is copied, any other one with the last name.
/// A slash at its end makes it match directories only. If the first pattern includes, files that match no pattern are
/// excluded.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    patterns: Vec<FilterPattern>,
}

#[derive(Debug, Clone)]
struct FilterPattern {
    matcher: GlobMatcher,
    includes: bool,
    /// Compared with the whole path, not with the last name.
    is_path: bool,
    directories_only: bool,
}

impl Filter {
    /// Adds a pattern.
    ///
    /// # Errors
    /// A description of the mistake in the pattern.
    pub(super) fn add(&mut self, pattern: &str, includes: bool) -> Result<(), String> {
        let (text, directories_only) =
            pattern.strip_suffix('/').map_or((pattern, false), |text| (text, true));
        let is_path = text.contains('/');
        let glob = GlobBuilder::new(text.strip_prefix('/').unwrap_or(text))
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| error.to_string())?;
        let matcher = glob.compile_matcher();
        self.patterns.push(FilterPattern { matcher, includes, is_path, directories_only });
        Ok(())
    }

    /// Returns true if an item is to be copied. An excluded directory is excluded with all that it contains.
    #[must_use]
    pub(super) fn includes(&self, path: &[u8], is_directory: bool) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let [path, name] = [path, name].map(|text| Path::new(OsStr::from_bytes(text)));
        let matches = |pattern: &&FilterPattern| {
            (is_directory || !pattern.directories_only)
                && pattern.matcher.is_match(if pattern.is_path { path } else { name })
        };
        let excludes_others = self.patterns.first().is_some_and(|first| first.includes);
        let otherwise = is_directory || !excludes_others;
        self.patterns.iter().rev().find(matches).map_or(otherwise, |pattern| pattern.includes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(patterns: &[&str]) -> Filter {
        let mut filter = Filter::default();
        for pattern in patterns {
            let includes = pattern.starts_with('+');
            filter.add(&pattern[1..], includes).unwrap();
        }
        filter
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let check = |patterns: &[&str], path: &str, expected: bool| {
            let (path, is_directory) =
                path.strip_suffix('/').map_or((path, false), |path| (path, true));
            let found = filter(patterns).includes(path.as_bytes(), is_directory);
            assert_eq!(found, expected, "{patterns:?} {path}");
        };
        check(&[], "a/b", true);
        check(&["-*.o"], "a/b.o", false);
        check(&["-*.o"], "a/b.c", true);
        check(&["-*.o", "+keep.o"], "a/keep.o", true);
        check(&["+*.c"], "a/b.h", false);
        check(&["+*.c"], "a/", true);
        check(&["+*.{c,h}", "-x.c"], "x.c", false);
        check(&["-a/*.c"], "a/b.c", false);
        check(&["-a/*.c"], "a/b/c.c", true);
        check(&["-a/**/*.c"], "a/b/d/c.c", false);
        check(&["-/b"], "a/b", true);
        check(&["-/b"], "b", false);
        check(&["-.git/"], "x/.git/", false);
        check(&["-.git/"], "x/.git", true);
    }

    #[test]
    fn a_mistake_in_a_pattern_is_described() {
        let mut filter = Filter::default();
        assert!(filter.add("a[", true).unwrap_err().contains("unclosed"));
    }
}
