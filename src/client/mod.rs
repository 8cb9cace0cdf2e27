//! The FTP client: a connection to any FTP server, and the interactive program on top of it.
//!
//! [`Client`] is the interface of the library: `connect`, then methods named as in `std::fs`, with `u64` sizes. Its
//! errors carry a kind and the server's reply, and every wait has a deadline. [`shell`] is the program that `ftpclient`
//! runs.
//!
//! The files are layered by lifetimes: a `Client` lives as long as its user wants, with a `Connector` that opens one
//! `Link` after the other; a `Link` is one connection, with all that the two ends know of each other. The dialogue that
//! a `Link` has with the server is pure, and belongs to [`crate::ftp::dialogue`].

mod ahead;
mod batch;
mod builder;
mod charset;
mod checks;
mod connection;
mod connector;
mod control;
mod data;
mod dial;
mod directory;
mod download;
mod endpoint;
mod error;
mod files;
mod identity;
mod interrupt;
#[cfg(feature = "cli")]
mod known_hosts;
mod link;
mod mark;
mod metadata;
mod mirror;
mod names;
pub mod netrc;
mod notices;
mod options;
mod parallel;
mod parameters;
mod part;
mod pipeline;
mod prefetch;
mod progress;
mod proxy;
mod ranges;
mod rate_limit;
mod rejection;
mod requests;
#[cfg(feature = "cli")]
pub mod secret;
#[cfg(feature = "cli")]
pub mod shell;
mod stream;
mod support;
mod transfer;
mod tree_walk;
mod trust;
mod upload;
pub mod url;

pub use builder::ClientBuilder;
pub use charset::Charset;
pub use connection::Client;
pub use error::{ClientError, ErrorKind, Unaccepted};
pub use interrupt::Interrupt;
pub use metadata::RemoteMetadata;
pub use mirror::{
    Difference, Item, ItemKind, Mirror, MirrorAction, MirrorEvent, MirrorPlan, MirrorReport,
    Obstacle, Plan, Stamp,
};
pub use notices::Notices;
pub use options::{Family, Options};
pub use parallel::CONNECTIONS_MAX;
pub use prefetch::FileRequest;
pub use progress::Progress;
pub use proxy::{Proxy, ProxyKind};
pub use rate_limit::RateLimit;
pub use requests::{DownloadRequest, TransferEvent, UploadRequest};
pub use trust::{TlsMode, Trust};
pub use upload::UploadStart;
