//! argon2id, in the PHC string format: the hash of new passwords.

use std::cell::RefCell;
use std::collections::TryReserveError;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::kind::HashKind;

/// A hash that costs as much as that of a new password, and matches no password.
pub(super) const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$cG9vbGZ0cGRub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Maximum memory of a hash in KiB. Each thread that checks passwords keeps it.
const MEMORY_KIB_MAX: u64 = 256 << 10;

/// Maximum product of memory in KiB and passes: 27 times the cost of a new hash.
const COST_MAX: u64 = 1 << 20;

/// Returns the hash of a new password, with a random salt.
///
/// # Errors
/// When the system has no random bytes.
pub fn hash(password: &[u8]) -> Result<String, String> {
    let hashed = Argon2::default().hash_password(password);
    hashed.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// Returns the kind of an argon2id hash.
pub(super) fn kind(hash: &str) -> Result<HashKind, String> {
    let parsed =
        PasswordHash::new(hash).ok().filter(|hash| hash.salt.is_some() && hash.hash.is_some());
    let parameters = parsed.and_then(|hash| Params::try_from(&hash).ok());
    let parameters = parameters.ok_or("the argon2id hash is damaged")?;
    let memory = u64::from(parameters.m_cost());
    let cost = memory * u64::from(parameters.t_cost());
    if memory > MEMORY_KIB_MAX || cost > COST_MAX {
        return Err(format!(
            "the argon2id hash is too costly: m={memory},t={} is above the limits m={MEMORY_KIB_MAX} and m*t={COST_MAX}",
            parameters.t_cost()
        ));
    }
    Ok(HashKind::Argon2id(cost))
}

thread_local! {
    /// The working memory of each thread that checks passwords, allocated once. Freed and allocated again for each
    /// check, such large blocks would make the allocator keep many times their size.
    static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Returns true if an argon2id hash is that of this password.
///
/// # Errors
/// When there is no memory for the check.
pub(super) fn is_of(hash: &str, password: &[u8]) -> Result<bool, TryReserveError> {
    MEMORY.with_borrow_mut(|memory| {
        let Some(blocks) = blocks_of(hash) else { return Ok(false) };
        memory.try_reserve_exact(blocks.saturating_sub(memory.len()))?;
        Ok(compute_with(memory, hash, password).unwrap_or_default())
    })
}

/// Returns the memory that a hash needs, in argon2 blocks.
fn blocks_of(hash: &str) -> Option<usize> {
    Some(Params::try_from(&PasswordHash::new(hash).ok()?).ok()?.block_count())
}

/// Returns true if hash and password match; `None` if the hash cannot be computed.
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
    fn a_hash_is_bounded_in_memory_and_in_passes() {
        let hash = |parameters: &str| kind(&NOBODYS.replace("m=19456,t=2", parameters));
        assert_eq!(hash("m=19456,t=2"), Ok(HashKind::Argon2id(38912)));
        assert!(hash("m=262144,t=4").is_ok());
        for costly in ["m=262145,t=1", "m=262144,t=5", "m=19456,t=1000"] {
            assert!(hash(costly).unwrap_err().contains("too costly"), "{costly}");
        }
        assert!(kind("$argon2id$v=19$m=8,t=1,p=1").is_err());
    }
}
