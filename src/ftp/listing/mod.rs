//! Listings: the lines of LIST, NLST, MLSD and MLST, written by the server and read by the client.
//!
//! LIST has no standard. The server writes the form of `ls -l`, which every client reads (the standard form is in RFC
//! 3659 §7). The client reads the forms of many servers. Name and kind matter most: size and time may be unknown. A line
//! that is neither an entry nor known to be none is counted in [`Directory::unread`], so that no entry vanishes.

mod clock;
mod date;
mod dos;
mod entry;
mod facts;
mod hosts;
mod kind;
mod listed;
mod machine;
mod month;
mod noise;
mod read;
mod tables;
#[cfg(test)]
mod tests;
mod unix;
mod vms;
mod words;

pub use entry::Entry;
pub use facts::Facts;
pub use kind::Kind;
pub use listed::{Directory, Listed};
pub use read::{read_facts, read_list};
