//! poolftpd: an FTP server on a fixed pool of worker threads, its client and its balancer.
//!
//! The rooms, from the ground up: [`pool`] (the scheduler) and [`ftp`] (the protocol, without I/O); [`storage`] (files,
//! uploads and users) and [`net`] (connections); [`session`] (the dialogue with one client); [`server`] (the assembly).
//! `ARCHITECTURE.md` is the guide.

pub mod balancer;
pub mod bench;
pub mod check;
pub mod cli;
pub mod client;
pub mod events;
pub mod ftp;
pub mod log;
pub mod net;
pub mod pool;
pub mod reload;
pub mod sandbox;
pub mod server;
pub mod session;
pub mod settings;
pub mod slave;
pub mod startup;
pub mod storage;
pub mod units;
