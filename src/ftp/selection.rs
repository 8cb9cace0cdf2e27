//! The argument of LIST, NLST and STAT: flags like those of `ls`, and a pathname.

use super::argument::{Argument, ArgumentError, PathName};

/// Flags and pathname of LIST and NLST: `-la pattern`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one field a flag")]
pub struct Selection {
    /// `-a`, `-A`: includes names that begin with a dot.
    pub hidden: bool,
    /// `-l`: NLST returns whole lines.
    pub long: bool,
    /// `-d`: a directory itself, not its contents.
    pub itself: bool,
    /// `-R`: includes the directories in a directory.
    pub recursive: bool,
    /// A file, a directory, or a pattern of names.
    pub path: Option<PathName>,
}

impl Selection {
    pub(super) fn parse(argument: Option<&[u8]>) -> Result<Self, ArgumentError> {
        let mut selection = Self::default();
        let mut rest = trim_spaces(argument.unwrap_or_default());
        while let [b'-', flags @ ..] = rest {
            let end = flags.iter().position(|byte| *byte == b' ').unwrap_or(flags.len());
            let (flags, after) = flags.split_at_checked(end).unwrap_or_default();
            for flag in flags {
                match flag {
                    b'a' | b'A' => selection.hidden = true,
                    b'l' => selection.long = true,
                    b'd' => selection.itself = true,
                    b'R' => selection.recursive = true,
                    // Other flags of `ls`, which clients send by habit, have no effect here.
                    _ => {}
                }
            }
            rest = trim_spaces(after);
            if flags == b"-" {
                break;
            }
        }
        selection.path = if rest.is_empty() { None } else { Some(Argument(Some(rest)).path()?) };
        Ok(selection)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let flags =
            [(self.hidden, 'a'), (self.long, 'l'), (self.itself, 'd'), (self.recursive, 'R')];
        let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
        if !flags.is_empty() {
            out.extend_from_slice(format!(" -{flags}").as_bytes());
        }
        if let Some(PathName(path)) = &self.path {
            // A name that begins like flags or with a space must not be parsed as such.
            let guard: &[u8] = match path.first() {
                Some(b'-') => b" -- ",
                Some(b' ') => b" ./",
                _ => b" ",
            };
            out.extend_from_slice(guard);
            out.extend_from_slice(path);
        }
    }
}

/// Removes spaces from the front; other white space may be part of a name.
fn trim_spaces(text: &[u8]) -> &[u8] {
    text.iter()
        .position(|byte| *byte != b' ')
        .and_then(|start| text.get(start..))
        .unwrap_or_default()
}
