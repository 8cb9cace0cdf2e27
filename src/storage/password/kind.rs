//! The kinds of password hashes, and their costs.

use std::fmt;

/// The kind of a password hash, with its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashKind {
    /// argon2id in the PHC string format: memory in KiB times passes.
    Argon2id(u64),
    /// bcrypt, `$2a$`, `$2b$` or `$2y$`: the binary logarithm of its rounds.
    Bcrypt(u32),
    /// SHA-512-crypt, `$6$`: the number of rounds.
    Sha512Crypt(u32),
    /// SHA-256-crypt, `$5$`: the number of rounds.
    Sha256Crypt(u32),
    /// yescrypt, `$y$`: its memory in bytes.
    Yescrypt(u64),
}

impl HashKind {
    /// Returns the approximate time of a check in microseconds, to compare hashes.
    pub(super) fn time(self) -> u64 {
        match self {
            Self::Argon2id(cost) => cost / 2,
            Self::Bcrypt(cost) => 60 << cost,
            Self::Sha512Crypt(rounds) | Self::Sha256Crypt(rounds) => u64::from(rounds) * 2 / 3,
            Self::Yescrypt(bytes) => bytes / 500,
        }
    }
}

impl fmt::Display for HashKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Argon2id(_) => "argon2id",
            Self::Bcrypt(_) => "bcrypt",
            Self::Sha512Crypt(_) => "sha512-crypt",
            Self::Sha256Crypt(_) => "sha256-crypt",
            Self::Yescrypt(_) => "yescrypt",
        })
    }
}
