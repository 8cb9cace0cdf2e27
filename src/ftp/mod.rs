//! The FTP language: commands and replies, and the form of names, addresses and listings in them.
//!
//! Pure: no socket, no file, no clock. Server and client share every parser and every formatter here, and a property
//! test checks that they are inverse. Depends on no other room.

pub mod address;
mod argument;
pub mod ascii;
pub mod block;
pub mod checksum;
pub mod command;
pub mod dialogue;
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
