//! Passwords: only their argon2id hashes are stored, in the PHC string format.

use std::cell::RefCell;
use std::collections::TryReserveError;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// A hash that costs as much as that of a new password, and matches no password. A login with an unknown name takes as
/// long as one with a wrong password.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$cG9vbGZ0cGRub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Returns the hash of a new password, with a random salt.
///
/// # Errors
/// When the system has no random bytes.
pub fn hash(password: &[u8]) -> Result<String, String> {
    let hashed = Argon2::default().hash_password(password);
    hashed.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// Returns true if a text is a hash that [`is_of`] can check.
#[must_use]
pub(super) fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id")
}

thread_local! {
    /// The working memory of each thread that checks passwords, allocated once. Freed and allocated again for each
    /// check, such large blocks would make the allocator keep many times their size.
    static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Returns true if a hash is that of this password. Takes some ten milliseconds and 19 MiB, on purpose, even without a
/// hash.
///
/// # Errors
/// When there is no memory for the check. This is the largest allocation of the server, so its failure is returned and
/// does not end the process.
pub(super) fn is_of(hash: Option<&str>, password: &[u8]) -> Result<bool, TryReserveError> {
    let fits = compute(hash.unwrap_or(NOBODYS), password)?.unwrap_or_default();
    Ok(fits && hash.is_some())
}

/// Returns true if hash and password match; `None` if the hash cannot be computed.
fn compute(hash: &str, password: &[u8]) -> Result<Option<bool>, TryReserveError> {
    MEMORY.with_borrow_mut(|memory| {
        let Some(blocks) = blocks_of(hash) else { return Ok(None) };
        memory.try_reserve_exact(blocks.saturating_sub(memory.len()))?;
        Ok(compute_with(memory, hash, password))
    })
}

/// Returns the memory that a hash needs, in argon2 blocks.
fn blocks_of(hash: &str) -> Option<usize> {
    Some(Params::try_from(&PasswordHash::new(hash).ok()?).ok()?.block_count())
}

fn compute_with(memory: &mut Vec<Block>, hash: &str, password: &[u8]) -> Option<bool> {
    let parsed = PasswordHash::new(hash).ok()?;
    let (salt, expected) = (parsed.salt?, parsed.hash?);
    let algorithm = Algorithm::new(parsed.algorithm.as_str()).ok()?;
    let version = parsed.version.map_or_else(|| Ok(Version::default()), Version::try_from).ok()?;
    let parameters = Params::try_from(&parsed).ok()?;
    let mut computed = vec![0; expected.len()];
    memory.resize(parameters.block_count(), Block::default());
    let argon2 = Argon2::new(algorithm, version, parameters);
    argon2.hash_password_into_with_memory(password, &salt, &mut computed, memory).ok()?;
    // Compares in constant time, however many bytes are equal.
    Some(Output::new(&computed).ok()? == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_alone_and_nobodys_is_of_none() {
        let kept = hash(b"secret").unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(is_hash(&kept) && is_hash(NOBODYS) && !is_hash("secret"));
        assert!(is_of(Some(&kept), b"secret").unwrap());
        assert!(!is_of(Some(&kept), b"Secret").unwrap());
        assert!(!is_of(None, b"secret").unwrap());
        assert_ne!(hash(b"secret").unwrap(), kept, "each has a salt of its own");
    }
}
