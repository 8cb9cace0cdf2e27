//! The values of events, typed, so that each format writes them in its own way.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;

/// The value of one field of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A word of a closed set, such as a verb.
    Word(&'a str),
    /// A text of the server.
    Text(&'a str),
    /// A path of this machine.
    File(&'a [u8]),
    /// A name or line that a client sent.
    Client(&'a [u8]),
    /// A count, or a number of bytes.
    Number(u64),
    /// A number that may be negative.
    Signed(i64),
    /// Yes or no.
    Flag(bool),
    /// A duration in seconds, to the millisecond.
    Seconds(Duration),
    /// A time.
    Time(Timestamp),
    /// An address with its port.
    Endpoint(SocketAddr),
    /// An address without a port.
    Address(IpAddr),
    /// The permission bits of a file, in octal.
    Mode(u32),
}

/// Receives the name and the value of each field.
pub type Visit<'v> = dyn FnMut(&'static str, Value<'_>) + 'v;
