//! poolftpd: an FTP server on a fixed pool of worker threads, its client and its balancer.
//!
//! A program uses three parts of it:
//!
//! * [`Server`]: [`Server::builder`] starts a server in a few lines. It ends when the value is dropped.
//! * [`Client`]: [`Client::builder`] connects to any FTP server. Transfers resume after a lost connection.
//! * [`ftp`]: commands, replies, paths and listings, without I/O.
//!
//! The features `server`, `client` and `cli` select the parts; `cli` adds the programs. Everything else in this crate is
//! public only for its own programs, tests, benchmarks and fuzzing, and may change with each version.

#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "the programs use more of these parts")
)]

#[cfg(feature = "server")]
mod acceptors;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod approval;
#[cfg(feature = "server")]
mod arrival;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod balancer;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod bench;
#[cfg(feature = "server")]
mod builder;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod check;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "client")]
#[doc(hidden)]
pub mod client;
#[cfg(feature = "server")]
mod control;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod convert;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod events;
pub mod ftp;
#[cfg(all(feature = "server", feature = "cli"))]
#[doc(hidden)]
pub mod hooks;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod log;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod net;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod notify;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod pool;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod reload;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod sandbox;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod scan;
#[cfg(feature = "server")]
mod scoreboard;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod server;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod session;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod settings;
#[cfg(all(feature = "server", feature = "cli"))]
#[doc(hidden)]
pub mod slave;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod sockets;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod spool;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod startup;
#[cfg(feature = "server")]
mod status;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod storage;
mod sys;
#[doc(hidden)]
pub mod units;
#[cfg(feature = "server")]
mod watchdog;

#[cfg(feature = "server")]
#[doc(inline)]
pub use builder::ServerBuilder;
#[cfg(feature = "client")]
#[doc(inline)]
pub use client::{
    Client, ClientBuilder, ClientError, ErrorKind, Family, FileRequest, Interrupt, Notices,
    Progress, RemoteMetadata, TlsMode, Trust, Unaccepted, UploadStart,
};
#[cfg(feature = "server")]
#[doc(inline)]
pub use server::{Listener, Server};
#[cfg(feature = "server")]
#[doc(inline)]
pub use settings::ConfigError;
