//! Clients.
fn main() {}
