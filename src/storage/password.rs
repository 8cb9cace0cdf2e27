//! Passwords: only their argon2id hashes are kept, in the PHC string format.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

/// Costs what the hash of a new password costs, and fits none: whoever gives the name of nobody waits as long as for a
/// wrong password.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$cG9vbGZ0cGRub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The hash of a new password, with a salt of its own.
///
/// # Errors
/// When the system has no random bytes.
pub fn hash(password: &[u8]) -> Result<String, String> {
    let hashed = Argon2::default().hash_password(password);
    hashed.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// Whether a text is a hash that [`is_of`] understands.
#[must_use]
pub(super) fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id")
}

/// Whether a hash is that of this password. Takes some ten milliseconds, and 19 MiB, on purpose; without a hash, too.
#[must_use]
pub(super) fn is_of(hash: Option<&str>, password: &[u8]) -> bool {
    let fits = PasswordHash::new(hash.unwrap_or(NOBODYS))
        .is_ok_and(|parsed| Argon2::default().verify_password(password, &parsed).is_ok());
    fits && hash.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_alone_and_nobodys_is_of_none() {
        let kept = hash(b"secret").unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(is_hash(&kept) && is_hash(NOBODYS) && !is_hash("secret"));
        assert!(is_of(Some(&kept), b"secret"));
        assert!(!is_of(Some(&kept), b"Secret"));
        assert!(!is_of(None, b"secret"));
        assert_ne!(hash(b"secret").unwrap(), kept, "each has a salt of its own");
    }
}
