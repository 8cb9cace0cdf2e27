//! A client that has arrived and has a permit.

use std::net::{SocketAddr, TcpStream};

use super::connection_limits::Permit;

/// An admitted client, on its way from the listener through the balancer to its session.
#[derive(Debug)]
pub struct AdmittedClient {
    /// The control connection.
    pub stream: TcpStream,
    /// The client's address. It travels with the connection, because the other end of the socket need not be the client.
    pub peer: SocketAddr,
    /// The client's permit in the server.
    pub permit: Permit,
}
