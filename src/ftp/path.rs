//! Virtual paths: paths as the client sees them, with `/` as its root. Real paths never leave `storage`.

use std::fmt;

/// The maximum length of a virtual path in bytes: Linux' `PATH_MAX` without the final NUL.
pub const PATH_BYTES_MAX: usize = 4095;

/// The maximum number of names in a path: programs that walk a directory tree do not support unlimited depth.
pub const PATH_DEPTH_MAX: usize = 256;

/// An absolute path without `.`, `..` and empty names. Whatever text a client sends, the path stays beneath the root.
/// Names are bytes and need not be UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VirtualPath {
    /// Starts with `/`; ends with `/` only if it is the root.
    bytes: Vec<u8>,
}

/// The error for a path that is too long or too deep: 553 or 550, depending on the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathTooLong;

impl VirtualPath {
    /// Returns `/`.
    #[must_use]
    pub fn root() -> Self {
        Self { bytes: vec![b'/'] }
    }

    /// Resolves `name` from this directory: absolute if it begins with `/`; `..` above the root stays at the root.
    ///
    /// # Errors
    /// Returns an error when the path would be longer than [`PATH_BYTES_MAX`], or deeper than [`PATH_DEPTH_MAX`].
    pub fn join(&self, name: &[u8]) -> Result<Self, PathTooLong> {
        let from: &[u8] = if name.first() == Some(&b'/') { b"/" } else { &self.bytes };
        let mut path = Self { bytes: Vec::with_capacity(from.len() + 1 + name.len()) };
        path.bytes.extend_from_slice(from);
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => path.bytes.truncate(path.parent_length()),
                part => path.push(part),
            }
        }
        let depth = path.beneath_root().split(|byte| *byte == b'/').count();
        if path.bytes.len() > PATH_BYTES_MAX || depth > PATH_DEPTH_MAX {
            Err(PathTooLong)
        } else {
            Ok(path)
        }
    }

    /// Returns the directory that contains this path; for the root, the root.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self { bytes: self.bytes.get(..self.parent_length()).unwrap_or_default().to_vec() }
    }

    /// Returns the length of the parent directory's path.
    fn parent_length(&self) -> usize {
        self.bytes.iter().rposition(|byte| *byte == b'/').unwrap_or_default().max(1)
    }

    /// Returns the path as seen from a directory, which is then the root; `None` if the path is not beneath it.
    #[must_use]
    pub fn below(&self, directory: &Self) -> Option<Self> {
        let rest = if directory.is_root() {
            Some(self.bytes.as_slice())
        } else {
            self.bytes.strip_prefix(directory.bytes.as_slice())
        };
        match rest? {
            b"" => Some(Self::root()),
            rest if rest.starts_with(b"/") => Some(Self { bytes: rest.to_vec() }),
            _ => None,
        }
    }

    /// Returns the last name; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.bytes.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// Returns `true` if the path is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.bytes == b"/"
    }

    /// Returns the path as the client sees it, starting with `/`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the path from the root, without the leading `/`; empty for the root.
    #[must_use]
    pub fn beneath_root(&self) -> &[u8] {
        self.bytes.strip_prefix(b"/").unwrap_or_default()
    }

    fn push(&mut self, part: &[u8]) {
        if !self.is_root() {
            self.bytes.push(b'/');
        }
        self.bytes.extend_from_slice(part);
    }
}

impl fmt::Debug for VirtualPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// Displays the path as [`Escaped`] does, for logs, so that no client can forge a line.
impl fmt::Display for VirtualPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", Escaped(&self.bytes))
    }
}

/// Returns the text in quotes, in which a quote is doubled, and the text after it.
pub(super) fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let start = text.iter().position(|byte| *byte == b'"')? + 1;
    let mut path = Vec::new();
    let mut rest = text.get(start..)?;
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        if *byte == b'"' {
            match rest.strip_prefix(b"\"") {
                Some(after) => rest = after,
                None => return Some((path, rest)),
            }
        }
        path.push(*byte);
    }
}

/// Bytes from a client, safe to print: UTF-8 letters stay, control characters and invalid bytes are escaped.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '"' | '\\' => write!(formatter, "\\{letter}")?,
                    letter if letter.is_control() || is_formatting(letter) => {
                        write!(formatter, "{}", letter.escape_unicode())?;
                    }
                    letter => write!(formatter, "{letter}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(formatter, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Returns `true` for line separators and direction marks: they could make a line look like another.
fn is_formatting(letter: char) -> bool {
    matches!(letter, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(from: &str, name: &str, expected: &str) {
        let from = VirtualPath::root().join(from.as_bytes()).unwrap();
        assert_eq!(
            from.join(name.as_bytes()).unwrap().as_bytes(),
            expected.as_bytes(),
            "{from} + {name}"
        );
    }

    #[test]
    fn names_lead_where_a_client_expects() {
        check("/a", "b", "/a/b");
        check("/a", "/b", "/b");
        check("/a/b", "../c", "/a/c");
        check("/a", "../../../etc/passwd", "/etc/passwd");
        check("/a", "./b//c/", "/a/b/c");
        check("/", "...", "/...");
        check("/a", "", "/a");
    }

    #[test]
    fn parent_and_name_are_the_two_halves() {
        let path = VirtualPath::root().join(b"a/b").unwrap();
        assert_eq!((path.parent().as_bytes(), path.name()), (b"/a".as_slice(), b"b".as_slice()));
        assert_eq!(VirtualPath::root().parent(), VirtualPath::root());
        assert_eq!(VirtualPath::root().name(), b"");
    }

    #[test]
    fn escaped_text_is_one_line() {
        let forged = Escaped(b"a\r\nevent=login \xE2\x80\xA8\"\\\xFF \xC3\xA9");
        assert_eq!(forged.to_string(), "a\\u{d}\\u{a}event=login \\u{2028}\\\"\\\\\\xff é");
    }

    proptest! {
        #[test]
        fn a_path_never_leaves_the_root(names in proptest::collection::vec(prop_oneof![Just(b"..".to_vec()), Just(b"/".to_vec()), any::<Vec<u8>>()], 0..8)) {
            let mut path = VirtualPath::root();
            for name in &names {
                if let Ok(joined) = path.join(name) { path = joined; }
                prop_assert!(path.as_bytes().starts_with(b"/"));
                prop_assert!(path.as_bytes().len() <= PATH_BYTES_MAX);
                prop_assert!(path.beneath_root().split(|byte| *byte == b'/').all(|part| part != b".." && part != b"."));
                prop_assert_eq!(path.parent().join(path.name()).unwrap(), path.clone());
            }
        }
    }
}
