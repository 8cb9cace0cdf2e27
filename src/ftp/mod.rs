//! The language: what is said on a control connection and how names, addresses and listings are written in it.
//!
//! Pure: no socket, no file, no clock. Server and client share every parser and every formatter here, and a property
//! test says that they are inverse. Depends on no other room.

pub mod address;
pub mod ascii;
pub mod block;
pub mod checksum;
pub mod command;
pub mod line;
pub mod listing;
pub mod path;
pub mod pattern;
pub mod reply;
mod selection;
pub mod time;
pub mod verb;

pub use command::Command;
pub use path::VirtualPath;
pub use reply::{Code, Reply};
