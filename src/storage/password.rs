//! Passwords: only their argon2id hashes are kept, in the PHC string format.

use std::cell::RefCell;
use std::collections::TryReserveError;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};

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

thread_local! {
    /// Asked for once by each thread that checks: given back and asked for anew each time, so much memory in pieces is kept
    /// by the allocator many times over.
    static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Whether a hash is that of this password. Takes some ten milliseconds, and 19 MiB, on purpose; without a hash, too.
///
/// # Errors
/// When there is no memory for it: the largest piece that the server ever asks for at once, so its lack is an answer, not the
/// end.
pub(super) fn is_of(hash: Option<&str>, password: &[u8]) -> Result<bool, TryReserveError> {
    let fits = compute(hash.unwrap_or(NOBODYS), password)?.unwrap_or_default();
    Ok(fits && hash.is_some())
}

/// Whether they fit; `None` when the hash is none that can be computed.
fn compute(hash: &str, password: &[u8]) -> Result<Option<bool>, TryReserveError> {
    MEMORY.with_borrow_mut(|memory| {
        let Some(blocks) = blocks_of(hash) else { return Ok(None) };
        memory.try_reserve_exact(blocks.saturating_sub(memory.len()))?;
        Ok(compute_with(memory, hash, password))
    })
}

/// How much memory a hash takes.
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
    // Compares in the same time, however much is alike.
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
