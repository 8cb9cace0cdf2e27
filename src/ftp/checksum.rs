//! Checksums of files, under the names of HASH (draft-bryan-ftpext-hash) and of the X commands of older servers.

use std::fmt::{self, Write};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

/// A checksum algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each name says it")]
pub enum Algorithm {
    #[default]
    Sha256,
    Sha512,
    Sha1,
    Md5,
    Crc32,
}

impl Algorithm {
    /// All algorithms, the best first.
    pub const ALL: [Self; 5] = [Self::Sha256, Self::Sha512, Self::Sha1, Self::Md5, Self::Crc32];

    /// Returns the name that HASH uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
            Self::Sha1 => "SHA-1",
            Self::Md5 => "MD5",
            Self::Crc32 => "CRC32",
        }
    }

    /// Returns the verb for this algorithm alone.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Sha256 => "XSHA256",
            Self::Sha512 => "XSHA512",
            Self::Sha1 => "XSHA1",
            Self::Md5 => "XMD5",
            Self::Crc32 => "XCRC",
        }
    }

    /// Finds the algorithm with this HASH name, in upper or lower case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A checksum in progress.
#[derive(Clone)]
pub enum Checksum {
    #[expect(missing_docs, reason = "each name says it")]
    Sha256(Sha256),
    #[expect(missing_docs, reason = "each name says it")]
    Sha512(Box<Sha512>),
    #[expect(missing_docs, reason = "each name says it")]
    Sha1(Sha1),
    #[expect(missing_docs, reason = "each name says it")]
    Md5(Md5),
    #[expect(missing_docs, reason = "each name says it")]
    Crc32(crc32fast::Hasher),
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Checksum").finish_non_exhaustive()
    }
}

impl Checksum {
    /// Creates the checksum of no bytes.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
        }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(state) => state.update(bytes),
            Self::Sha512(state) => state.update(bytes),
            Self::Sha1(state) => state.update(bytes),
            Self::Md5(state) => state.update(bytes),
            Self::Crc32(state) => state.update(bytes),
        }
    }

    /// Returns the algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
            Self::Sha1(_) => Algorithm::Sha1,
            Self::Md5(_) => Algorithm::Md5,
            Self::Crc32(_) => Algorithm::Crc32,
        }
    }

    /// Adds bytes that have a checksum already. Returns `None` where the algorithm does not allow that: only CRC-32 does.
    #[must_use]
    pub fn followed_by(mut self, next: &Self) -> Option<Self> {
        match (&mut self, next) {
            (Self::Crc32(state), Self::Crc32(next)) => state.combine(next),
            _ => return None,
        }
        Some(self)
    }

    /// Returns the checksum in lower-case hexadecimal digits.
    #[must_use]
    pub fn finish(self) -> String {
        match self {
            Self::Sha256(state) => digits(&state.finalize()),
            Self::Sha512(state) => digits(&state.finalize()),
            Self::Sha1(state) => digits(&state.finalize()),
            Self::Md5(state) => digits(&state.finalize()),
            Self::Crc32(state) => digits(&state.finalize().to_be_bytes()),
        }
    }
}

/// Returns bytes as lower-case hexadecimal digits.
#[must_use]
pub fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_values_come_out() {
        let of_abc = |algorithm| {
            let mut checksum = Checksum::new(algorithm);
            checksum.update(b"a");
            checksum.update(b"bc");
            checksum.finish()
        };
        // The values for "abc" of FIPS 180-4 and RFC 1321; CRC-32 as in IEEE 802.3.
        let expected = [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "a9993e364706816aba3e25717850c26c9cd0d89d",
            "900150983cd24fb0d6963f7d28e17f72",
            "352441c2",
        ];
        assert_eq!(Algorithm::ALL.map(of_abc), expected);
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::named(&algorithm.name().to_lowercase()), Some(algorithm));
        }
    }

    #[test]
    fn checksums_of_neighbours_make_that_of_both_where_the_algorithm_allows_it() {
        let of = |algorithm, bytes: &[u8]| {
            let mut checksum = Checksum::new(algorithm);
            checksum.update(bytes);
            checksum
        };
        for algorithm in Algorithm::ALL {
            let both = of(algorithm, b"ab").followed_by(&of(algorithm, b"c"));
            let expected = of(algorithm, b"abc").finish();
            let is_allowed = algorithm == Algorithm::Crc32;
            assert_eq!(both.map(Checksum::finish), is_allowed.then_some(expected));
        }
        assert!(of(Algorithm::Crc32, b"").followed_by(&of(Algorithm::Md5, b"")).is_none());
    }
}
