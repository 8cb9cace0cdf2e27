//! The FTP language: commands and replies, and the form of names, addresses and listings in them.
//!
//! Pure: no socket, no file, no clock. Server and client share every parser and every formatter here, and a property
//! test checks that they are inverse.
//!
//! ```
//! use poolftpd::ftp::command::PathName;
//! use poolftpd::ftp::{Code, Command, Reply};
//!
//! let command = Command::Delete(PathName(b"old report.pdf".to_vec()));
//! assert_eq!(command.encode(), b"DELE old report.pdf");
//! let mut out = Vec::new();
//! Reply::new(Code::FILE_ACTION_DONE, "Deleted.").encode(&mut out);
//! assert_eq!(out, b"250 Deleted.\r\n");
//! ```

pub mod address;
mod argument;
#[doc(hidden)]
pub mod ascii;
#[doc(hidden)]
pub mod block;
#[doc(hidden)]
pub mod checksum;
pub mod command;
#[doc(hidden)]
pub mod dialogue;
#[doc(hidden)]
pub mod line;
pub mod listing;
pub mod path;
#[doc(hidden)]
pub mod pattern;
mod permission;
pub mod reply;
mod selection;
#[doc(hidden)]
pub mod site;
#[doc(hidden)]
pub mod time;
#[doc(hidden)]
pub mod verb;

pub use command::Command;
pub use path::VirtualPath;
pub use reply::{Code, Reply};
