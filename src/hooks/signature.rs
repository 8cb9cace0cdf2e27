//! The signature of a POST, by which its receiver knows the sender: HMAC-SHA-256 over the body (RFC 2104).

use std::fmt;
use std::fs;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The name of the header.
pub(super) const HEADER: &str = "X-Poolftpd-Signature";

/// Minimum number of characters of a key.
const CHARACTERS_MIN: usize = 16;

/// A secret that the receiver of a POST knows, too.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

impl Key {
    /// Reads a key: the first line of a file.
    ///
    /// # Errors
    /// One sentence.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|error| format!("{}: {error}.", path.display()))?;
        let key = text.lines().next().unwrap_or_default().trim();
        if key.len() < CHARACTERS_MIN {
            return Err(format!("{}: the key must have at least 16 characters.", path.display()));
        }
        Ok(Self(Zeroizing::new(key.as_bytes().to_vec())))
    }

    /// Returns the value of the header: `sha256=` and the digits of the code.
    pub(super) fn sign(&self, body: &[u8]) -> String {
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0) else {
            // HMAC takes keys of any length.
            return String::new();
        };
        mac.update(body);
        let digits = mac.finalize().into_bytes();
        let digits: Vec<String> = digits.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={}", digits.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        let key = Key(Zeroizing::new(b"Jefe".to_vec()));
        assert_eq!(
            key.sign(b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(format!("{key:?}"), "Key", "no secret in a message");
    }
}
