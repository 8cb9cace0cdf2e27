//! The integration tests: the programs and the library as users see them. One module for each topic.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, makes its own files, and knows how long it waits"
)]

mod common;

mod accounts;
mod arrivals;
mod attacks;
mod authentication;
mod balancer;
mod behaviour;
mod bench;
mod clients;
mod completions;
mod configuration;
mod control;
mod disks;
mod embedding;
mod events;
mod faults;
mod guessing;
mod hooks;
mod jobs;
mod leaks;
mod links;
mod listings;
mod log;
mod manuals;
mod mirror;
mod network;
mod odd_servers;
mod odd_tls;
mod operations;
mod packages;
mod pipelining;
mod power;
mod programs;
mod proxies;
mod reloads;
mod sandbox;
mod scanning;
mod servers;
mod service;
mod settings;
mod several;
mod shell;
mod slaves;
mod status;
mod status_page;
mod terminal;
mod tidy;
mod tls;
mod transcripts;
mod updates;
mod users;
