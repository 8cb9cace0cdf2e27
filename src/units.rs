//! Values as people write and read them: numbers of bytes, networks, errors of the system.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ipnet::IpNet;
use nix::unistd::{Uid, User, geteuid};

/// Parses a number, optionally followed by K, M, G or T, each 1024 times the one before: `500K`, `2M`, `10G`.
///
/// # Errors
/// One sentence, if it is no number or too large.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a number of bytes, such as 500K, 2M or 10G");
    let units = [('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30), ('T', 1_u64 << 40)];
    let found = units.into_iter().find_map(|(letter, unit)| {
        text.strip_suffix([letter, letter.to_ascii_lowercase()]).map(|digits| (digits, unit))
    });
    let (digits, unit) = found.unwrap_or((text, 1));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse().ok().and_then(|number: u64| number.checked_mul(unit)).ok_or_else(wrong)
}

/// Returns the text of a system error, without its number, as the end of a sentence.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Returns the reason and the remedy for a file that this process may not read: its owner, and the user who runs here.
#[must_use]
pub fn unreadable(path: &Path, error: &io::Error) -> String {
    let why = reason(error);
    if error.kind() != io::ErrorKind::PermissionDenied {
        return why;
    }
    let name = |uid: Uid| {
        let found = User::from_uid(uid).ok().flatten();
        found.map_or_else(|| uid.to_string(), |user| user.name)
    };
    let here = name(geteuid());
    match fs::metadata(path) {
        Ok(found) if found.uid() == geteuid().as_raw() => format!(
            "{why}: it belongs to {here}, the user of the server, but is not readable; try chmod u+r {}",
            path.display()
        ),
        Ok(found) => format!(
            "{why}: it belongs to {}, and the server runs as {here}; try chown {here} {}",
            name(Uid::from_raw(found.uid())),
            path.display()
        ),
        Err(_) => {
            format!("{why}: the server runs as {here}, which cannot enter a parent directory")
        }
    }
}

/// Networks; an address matches if any of them contains it.
pub type Networks = Vec<IpNet>;

/// Parses networks, such as `10.0.0.0/8,::1`.
///
/// # Errors
/// One sentence.
pub fn networks(text: &str) -> Result<Networks, String> {
    let network = |text: &str| {
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse::<IpNet>()
            .ok()
            .or_else(address)
            .ok_or_else(|| format!("'{text}' is not an address or a network, such as 10.0.0.0/8"))
    };
    text.split(',').map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_with_or_without_its_bits() {
        let found = networks("10.0.0.0/8,::1").unwrap();
        assert!(found[0].contains(&IpAddr::from([10, 9, 8, 7])));
        assert!(!found[0].contains(&IpAddr::from([11, 9, 8, 7])));
        assert_eq!(found[1].to_string(), "::1/128");
        assert!(networks("10.0.0.0/33").is_err() && networks("").is_err());
    }

    #[test]
    fn a_unit_is_1024_of_the_one_before() {
        for (text, number) in [("0", 0), ("17", 17), ("500K", 512_000), ("2m", 2 << 20)] {
            assert_eq!(bytes(text), Ok(number), "{text}");
        }
        assert_eq!(bytes("1T"), Ok(1 << 40));
        for text in ["", "K", "-1", "+1", "1.5M", "2MB", "99999999999T", "1 K"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
