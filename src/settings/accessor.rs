//! Settings that are not one field of the configuration, and the parts of a row.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::net::public::AddressOrName;
use crate::net::tls::KeyFiles;

use super::field::Field;
use super::row::{Flags, Switch};
use super::table::Config;
use super::value::Rules;

/// A setting that is stored in several fields.
pub(super) trait Accessor {
    /// The type of its values.
    type Of: Field;

    /// Stores it.
    fn put(config: &mut Config, value: Self::Of);

    /// Returns it.
    fn get(config: &Config) -> Self::Of;
}

/// Number of worker threads; the default depends on the machine.
pub(super) struct Workers;

impl Accessor for Workers {
    type Of = Option<NonZeroUsize>;

    fn put(config: &mut Config, value: Self::Of) {
        config.workers = value.unwrap_or_else(super::ports::default_workers);
    }

    fn get(config: &Config) -> Self::Of {
        Some(config.workers)
    }
}

/// The certificates. Their keys follow, by [`Keys`].
pub(super) struct Certificates;

impl Accessor for Certificates {
    type Of = Vec<PathBuf>;

    fn put(config: &mut Config, value: Self::Of) {
        let key = PathBuf::new;
        config.tls.keys =
            value.into_iter().map(|certificate| KeyFiles { certificate, key: key() }).collect();
    }

    fn get(config: &Config) -> Self::Of {
        config.tls.keys.iter().map(|files| files.certificate.clone()).collect()
    }
}

/// The keys, in the order of the certificates. A key without its certificate gets an empty path for it, and the other
/// way round.
pub(super) struct Keys;

impl Accessor for Keys {
    type Of = Vec<PathBuf>;

    fn put(config: &mut Config, value: Self::Of) {
        let keys = &mut config.tls.keys;
        for (index, key) in value.into_iter().enumerate() {
            match keys.get_mut(index) {
                Some(files) => files.key = key,
                None => keys.push(KeyFiles { certificate: PathBuf::new(), key }),
            }
        }
    }

    fn get(config: &Config) -> Self::Of {
        config.tls.keys.iter().map(|files| files.key.clone()).collect()
    }
}

/// The file of a certificate that the server makes: the last of the keys.
pub(super) struct SelfSigned;

impl Accessor for SelfSigned {
    type Of = Option<PathBuf>;

    fn put(config: &mut Config, value: Self::Of) {
        let files = |path: &PathBuf| KeyFiles { certificate: path.clone(), key: path.clone() };
        config.tls.keys.extend(value.iter().map(files));
        config.self_signed = value;
    }

    fn get(config: &Config) -> Self::Of {
        config.self_signed.clone()
    }
}

/// The authorities of the clients' certificates.
pub(super) struct ClientAuthorities;

impl Accessor for ClientAuthorities {
    type Of = Option<PathBuf>;

    fn put(config: &mut Config, value: Self::Of) {
        config.tls.client_authorities = value;
    }

    fn get(config: &Config) -> Self::Of {
        config.tls.client_authorities.clone()
    }
}

/// The acceptance of clients without a certificate.
pub(super) struct ClientOptional;

impl Accessor for ClientOptional {
    type Of = bool;

    fn put(config: &mut Config, value: Self::Of) {
        config.tls.client_optional = value;
    }

    fn get(config: &Config) -> Self::Of {
        config.tls.client_optional
    }
}

/// The address in replies to PASV. A slave process receives the name and the address that its master has found.
pub(super) struct PublicAddress;

impl Accessor for PublicAddress {
    type Of = Vec<AddressOrName>;

    fn put(config: &mut Config, value: Self::Of) {
        (config.public_address, config.public_name) = (None, None);
        for found in value {
            match found {
                AddressOrName::Address(address) => config.public_address = Some(address),
                AddressOrName::Name(name) => config.public_name = Some(name),
            }
        }
    }

    fn get(config: &Config) -> Self::Of {
        let name = config.public_name.clone().map(AddressOrName::Name);
        name.into_iter().chain(config.public_address.map(AddressOrName::Address)).collect()
    }
}

/// Returns the default of a field. A test reads the default of each row.
pub(super) fn default_of<T: Field + Default>(texts: &[&str], rules: Rules) -> T {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    T::read(&texts, rules).unwrap_or_default()
}

pub(super) const fn first(texts: &[&'static str]) -> Option<&'static str> {
    match texts {
        [text, ..] => Some(text),
        [] => None,
    }
}

pub(super) const fn flags(
    argument: Option<&'static str>,
    repeated: Option<&'static str>,
    switches: &'static [Switch],
) -> Flags {
    match (argument, repeated, switches) {
        (Some(argument), ..) => Flags::Value(argument),
        (_, Some(repeated), _) => Flags::Repeated(repeated),
        (_, _, [_, ..]) => Flags::Switches(switches),
        _ => Flags::None,
    }
}
