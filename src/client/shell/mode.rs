//! Modes of files as `chmod` reads them: octal, or symbolic such as `u+x,go-w`.

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModeChange {
    /// The new bits.
    Bits(u32),
    /// Changes to the existing bits, one after the other.
    Clauses(Vec<Clause>),
}

/// One clause of a symbolic mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    /// The bits of the users that the clause is about.
    who: u32,
    operator: char,
    /// The permissions, for all users.
    permissions: u32,
    /// `X`: execution only for directories, and where a user has it.
    conditional: bool,
}

impl ModeChange {
    /// Parses a mode; `None` for another text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|letter: char| letter.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777)?;
            return Some(Self::Bits(bits));
        }
        text.split(',').map(clause).collect::<Option<Vec<_>>>().map(Self::Clauses)
    }

    /// Returns the new bits of a file; `None` if they depend on its bits and these are unknown.
    pub(super) fn apply(&self, mode: Option<u32>, is_directory: bool) -> Option<u32> {
        let clauses = match self {
            Self::Bits(bits) => return Some(*bits),
            Self::Clauses(clauses) => clauses,
        };
        let mode = mode?;
        Some(clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory)))
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let mut bits = self.permissions;
        if self.conditional && (is_directory || mode & 0o111 != 0) {
            bits |= 0o111;
        }
        let bits = bits & self.who;
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => (mode & !(self.who & 0o777)) | bits,
        }
    }
}

fn clause(text: &str) -> Option<Clause> {
    let operator_at = text.find(['+', '-', '='])?;
    let (users, rest) = text.split_at_checked(operator_at)?;
    let mut who = 0;
    for user in users.chars() {
        who |= match user {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if users.is_empty() {
        who = 0o7777;
    }
    let mut letters = rest.chars();
    let operator = letters.next()?;
    let (mut permissions, mut conditional) = (0, false);
    for letter in letters {
        permissions |= match letter {
            'r' => 0o444,
            'w' => 0o222,
            'x' => 0o111,
            's' => 0o6000,
            't' => 0o1000,
            'X' => {
                conditional = true;
                0
            }
            _ => return None,
        };
    }
    Some(Clause { who, operator, permissions, conditional })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_symbolic_modes_are_read_as_chmod_does() {
        let apply = |text: &str, mode| ModeChange::parse(text).unwrap().apply(Some(mode), false);
        assert_eq!(apply("644", 0o777), Some(0o644));
        assert_eq!(apply("u+x", 0o644), Some(0o744));
        assert_eq!(apply("go-rw", 0o666), Some(0o600));
        assert_eq!(apply("a=r,u+w", 0o777), Some(0o644));
        assert_eq!(apply("+x", 0o644), Some(0o755));
        assert_eq!(apply("a+X", 0o644), Some(0o644));
        assert_eq!(ModeChange::parse("a+X").unwrap().apply(Some(0o644), true), Some(0o755));
        assert_eq!(ModeChange::parse("u+x").unwrap().apply(None, false), None);
        for text in ["", "8", "99999", "u", "z+x", "u+q", "rwx"] {
            assert_eq!(ModeChange::parse(text), None, "{text}");
        }
    }
}
