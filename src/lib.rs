//! poolftpd: an FTP server on a fixed pool of worker threads, its client and its balancer.
//!
//! A program uses three parts of it:
//!
//! * [`Server`]: [`Server::builder`] starts a server in a few lines. It ends when the value is dropped.
//! * [`Client`]: [`Client::builder`] connects to any FTP server. Transfers resume after a lost connection.
//! * [`ftp`]: commands, replies, paths and listings, without I/O.
//!
//! The features `server`, `client` and `cli` select the parts; `cli` adds the programs. The hidden module `internal`
//! is for this crate's own programs, tests, benchmarks and fuzzing, and may change with each version.

#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "the programs use more of these parts")
)]

#[cfg(feature = "server")]
mod acceptors;
#[cfg(feature = "server")]
mod approval;
#[cfg(feature = "server")]
mod arrival;
#[cfg(feature = "server")]
mod balancer;
#[cfg(feature = "cli")]
mod bench;
#[cfg(feature = "server")]
mod builder;
#[cfg(feature = "server")]
mod check;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "server")]
mod control;
#[cfg(feature = "server")]
mod convert;
#[cfg(feature = "server")]
mod events;
pub mod ftp;
#[cfg(all(feature = "server", feature = "cli"))]
mod hooks;
#[cfg(all(feature = "server", feature = "cli"))]
mod key_opener;
#[cfg(feature = "server")]
mod log;
#[cfg(feature = "server")]
mod net;
#[cfg(feature = "server")]
mod notify;
#[cfg(feature = "server")]
mod pool;
#[cfg(feature = "server")]
mod reload;
#[cfg(feature = "server")]
mod sandbox;
#[cfg(feature = "server")]
mod scan;
#[cfg(feature = "server")]
mod scoreboard;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod session;
#[cfg(feature = "server")]
mod settings;
#[cfg(all(feature = "server", feature = "cli"))]
mod slave;
#[cfg(feature = "server")]
mod sockets;
#[cfg(feature = "server")]
mod spool;
#[cfg(feature = "server")]
mod startup;
#[cfg(feature = "server")]
mod status;
#[cfg(feature = "server")]
mod storage;
mod sys;
mod units;
#[cfg(all(feature = "server", feature = "cli"))]
mod update;
#[cfg(feature = "server")]
mod watchdog;

#[cfg(feature = "server")]
#[doc(inline)]
pub use builder::ServerBuilder;
#[cfg(feature = "client")]
#[doc(inline)]
pub use client::{
    Charset, Client, ClientBuilder, ClientError, ErrorKind, Family, FileRequest, Interrupt, Mirror,
    MirrorEvent, MirrorReport, Notices, Progress, RemoteMetadata, TlsMode, TransferEvent, Trust,
    Unaccepted, UploadStart,
};
#[cfg(feature = "server")]
#[doc(inline)]
pub use server::{Listener, Server};
#[cfg(feature = "server")]
#[doc(inline)]
pub use settings::ConfigError;

/// The rooms of the crate, for its own programs, tests, benchmarks and fuzzing. No other crate may rely on them.
#[doc(hidden)]
pub mod internal {
    #[cfg(feature = "server")]
    pub mod approval {
        pub use crate::approval::*;
    }
    #[cfg(feature = "server")]
    pub mod balancer {
        pub use crate::balancer::*;
    }
    #[cfg(feature = "cli")]
    pub mod bench {
        pub use crate::bench::*;
    }
    #[cfg(feature = "server")]
    pub mod check {
        pub use crate::check::*;
    }
    #[cfg(feature = "cli")]
    pub mod cli {
        pub use crate::cli::*;
    }
    #[cfg(feature = "client")]
    pub mod client {
        pub use crate::client::*;
    }
    #[cfg(feature = "server")]
    pub mod convert {
        pub use crate::convert::*;
    }
    #[cfg(feature = "server")]
    pub mod events {
        pub use crate::events::*;
    }
    #[cfg(all(feature = "server", feature = "cli"))]
    pub mod hooks {
        pub use crate::hooks::*;
    }
    #[cfg(all(feature = "server", feature = "cli"))]
    pub mod key_opener {
        pub use crate::key_opener::*;
    }
    #[cfg(feature = "server")]
    pub mod log {
        pub use crate::log::*;
    }
    #[cfg(feature = "server")]
    pub mod net {
        pub use crate::net::*;
    }
    #[cfg(feature = "server")]
    pub mod notify {
        pub use crate::notify::*;
    }
    #[cfg(feature = "server")]
    pub mod pool {
        pub use crate::pool::*;
    }
    #[cfg(feature = "server")]
    pub mod reload {
        pub use crate::reload::*;
    }
    #[cfg(feature = "server")]
    pub mod sandbox {
        pub use crate::sandbox::*;
    }
    #[cfg(feature = "server")]
    pub mod scan {
        pub use crate::scan::*;
    }
    #[cfg(feature = "server")]
    pub mod server {
        pub use crate::server::*;
    }
    #[cfg(feature = "server")]
    pub mod session {
        pub use crate::session::*;
    }
    #[cfg(feature = "server")]
    pub mod settings {
        pub use crate::settings::*;
    }
    #[cfg(all(feature = "server", feature = "cli"))]
    pub mod slave {
        pub use crate::slave::*;
    }
    #[cfg(feature = "server")]
    pub mod sockets {
        pub use crate::sockets::*;
    }
    #[cfg(feature = "server")]
    pub mod spool {
        pub use crate::spool::*;
    }
    #[cfg(feature = "server")]
    pub mod startup {
        pub use crate::startup::*;
    }
    #[cfg(feature = "server")]
    pub mod storage {
        pub use crate::storage::*;
    }
    pub mod units {
        pub use crate::units::*;
    }
    #[cfg(all(feature = "server", feature = "cli"))]
    pub mod update {
        pub use crate::update::*;
    }
}
