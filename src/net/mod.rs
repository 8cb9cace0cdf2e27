//! Network I/O: listeners, the control connection, data connections, and copying between them and files.
//!
//! Sockets stay in blocking mode. A worker uses a socket only when it is ready. Its calls never wait (`MSG_DONTWAIT`),
//! or wait at most a millisecond (`SO_SNDTIMEO`, for sendfile, accept and connect).
//!
//! Not here: the meaning of a line, and permissions.

mod address;
pub mod admitted;
mod ban_list;
pub mod connection_limits;
pub mod control;
pub mod copy;
pub mod data;
pub mod descriptors;
pub mod frequency;
pub mod listener;
pub mod passive;
pub mod place;
#[cfg(feature = "server")]
pub mod proxy_header;
pub mod public;
pub mod pulse;
mod socket;
pub mod tls;

pub use address::{canonical, client_of};
