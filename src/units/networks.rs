//! Networks as people write them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks; an address matches if any of them contains it.
pub type Networks = Vec<IpNet>;

/// Parses networks, such as `10.0.0.0/8,::1`.
///
/// # Errors
/// One sentence.
pub fn networks(text: &str) -> Result<Networks, String> {
    text.split(',').map(network).collect()
}

/// Parses a network, or an address, which is a network of one.
///
/// # Errors
/// One sentence.
pub fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>()
        .ok()
        .or_else(address)
        .ok_or_else(|| format!("'{text}' is not an address or a network, such as 10.0.0.0/8"))
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
}
