//! The facts of MLST and MLSD that a client selects (RFC 3659 §7.5).

/// A fact of MLST and MLSD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Type,
    Size,
    Modify,
    Perm,
    Unique,
    UnixMode,
}

const FACTS: [Fact; 6] =
    [Fact::Type, Fact::Size, Fact::Modify, Fact::Perm, Fact::Unique, Fact::UnixMode];

impl Fact {
    fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Size => "size",
            Self::Modify => "modify",
            Self::Perm => "perm",
            Self::Unique => "unique",
            Self::UnixMode => "UNIX.mode",
        }
    }
}

/// The facts that a client selected by `OPTS MLST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts([bool; FACTS.len()]);

impl Default for Facts {
    fn default() -> Self {
        Self([true; FACTS.len()])
    }
}

impl Facts {
    /// Parses a selection, `type;size;`; unknown facts are ignored (RFC 3659 §7.9).
    #[must_use]
    pub fn select(names: &str) -> Self {
        let selects =
            |fact: Fact| names.split(';').any(|name| name.eq_ignore_ascii_case(fact.name()));
        Self(FACTS.map(selects))
    }

    /// Returns the selected facts, `type;size;`, for the reply to OPTS MLST.
    #[must_use]
    pub fn selection(self) -> String {
        self.iter().fold(String::new(), |text, fact| text + fact.name() + ";")
    }

    /// Returns the line for FEAT: all facts, the selected ones with a star.
    #[must_use]
    pub fn feature(self) -> String {
        let star = |selected| if selected { "*;" } else { ";" };
        FACTS
            .iter()
            .zip(self.0)
            .fold("MLST ".to_owned(), |text, (fact, selected)| text + fact.name() + star(selected))
    }

    /// Returns the selected facts.
    pub(super) fn iter(self) -> impl Iterator<Item = Fact> {
        FACTS.into_iter().zip(self.0).filter(|(_, selected)| *selected).map(|(fact, _)| fact)
    }
}
