//! The client's side of FTP, without I/O: the next command, given the replies so far.
//!
//! Each dialogue has one purpose. Its driver owns the connection: it carries out each [`Step`] and passes every reply
//! back. `client` drives dialogues with blocking reads, `bench` drives thousands of them by readiness. Not here: the
//! handshake of TLS, the data itself, and the wording of errors.

mod abort;
mod exchange;
mod features;
mod login;
mod opening;
mod passive;
#[cfg(test)]
mod replies;
mod step;
mod transfer;

pub use abort::{Abort, Aborted};
pub use exchange::Exchange;
pub use features::{FeatureQuery, Features};
pub use login::Login;
pub use opening::{Authentication, Opened, Opening};
pub use passive::Passive;
pub use step::{Dialogue, Refused, Stage, Step};
pub use transfer::{Begin, Finish, Span};
