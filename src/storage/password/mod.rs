//! Passwords. New ones are stored as argon2id hashes; hashes of other systems are accepted as they are.
//!
//! SECURITY: the hash of a users file decides what a login costs. So the cost of each kind has a bound, and a hash above it
//! is rejected when the file is read.

mod argon;
mod crypt;
mod kind;

use std::collections::TryReserveError;

pub use argon::hash;
pub use kind::HashKind;

impl HashKind {
    /// Returns the kind of a hash.
    ///
    /// # Errors
    /// A clause about the hash: it is no hash, too weak, or too costly.
    pub fn of(hash: &str) -> Result<Self, String> {
        if hash.starts_with("$argon2id$") { argon::kind(hash) } else { crypt::kind(hash) }
    }
}

/// Returns the hash whose check takes longest. A login with an unknown name checks it, too, so that it takes as long as
/// one with a known name.
pub(super) fn costliest<'a>(hashes: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    hashes.max_by_key(|hash| HashKind::of(hash).map_or(0, HashKind::time))
}

/// Returns true if a hash is that of this password. Slow on purpose: some ten milliseconds and 19 MiB for a hash of
/// [`hash`], at most about a second for any. Without a hash, computes that of `other` or of nobody, and returns false.
///
/// # Errors
/// When there is no memory for the check. This is the largest allocation of the server, so its failure is returned and
/// does not end the process.
pub(super) fn is_of(
    hash: Option<&str>,
    other: Option<&str>,
    password: &[u8],
) -> Result<bool, TryReserveError> {
    let computed = hash.or(other).unwrap_or(argon::NOBODYS);
    let fits = match HashKind::of(computed) {
        Ok(HashKind::Argon2id(_)) => argon::is_of(computed, password)?,
        Ok(kind) => crypt::is_of(kind, computed, password)?,
        // Such a hash is rejected when its file is read.
        Err(_) => false,
    };
    Ok(fits && hash.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_alone_and_nobodys_is_of_none() {
        let kept = hash(b"secret").unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(HashKind::of("secret").is_err());
        assert!(is_of(Some(&kept), None, b"secret").unwrap());
        assert!(!is_of(Some(&kept), None, b"Secret").unwrap());
        assert!(!is_of(None, None, b"secret").unwrap());
        assert!(!is_of(None, Some(&kept), b"secret").unwrap());
        assert_ne!(hash(b"secret").unwrap(), kept, "each has a salt of its own");
    }

    #[test]
    fn an_unknown_name_costs_as_much_as_the_costliest_of_the_file() {
        let cheap = "$5$rounds=1000$saltstring$QzC5nqfG5kyh4sfsV3SYIDl5G3pUCEHY5nHANLSFlI1";
        let costly = "$2b$12$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";
        assert_eq!(costliest([cheap, costly, cheap].into_iter()), Some(costly));
        assert_eq!(costliest([argon::NOBODYS, cheap].into_iter()), Some(argon::NOBODYS));
        assert_eq!(costliest(std::iter::empty()), None);
    }
}
