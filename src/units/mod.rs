//! Values as people write and read them: numbers of bytes, networks, errors of the system.

mod error;
#[cfg(feature = "server")]
mod networks;
mod size;
#[cfg(feature = "server")]
mod unreadable;

pub use error::reason;
#[cfg(feature = "server")]
pub use networks::{Networks, network, networks};
pub use size::bytes;
#[cfg(feature = "server")]
pub use unreadable::unreadable;
