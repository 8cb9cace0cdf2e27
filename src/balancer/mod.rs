//! Who gets the connection: each new client to the next slave, round robin.
//!
//! The connection itself is handed over, not relayed: whoever takes it talks to the client alone from then on, so data
//! connections of every mode, and the client's address, are as without a balancer.
//!
//! Depends on `pool` and `net`. It is handed a maker of sessions and need not know them.

mod round_robin;
pub mod station;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::net::seats::Seat;
use round_robin::RoundRobin;
use station::{Station, Unable};

/// The slaves, and whose turn it is.
#[derive(Debug)]
pub struct Balancer {
    stations: Vec<Arc<Station>>,
    ring: Mutex<RoundRobin>,
}

impl Balancer {
    /// In front of these stations.
    #[must_use]
    pub fn new(stations: Vec<Arc<Station>>) -> Self {
        Self { stations, ring: Mutex::default() }
    }

    /// Hands a connection to the next station that takes it.
    ///
    /// # Errors
    /// The connection again, when nobody takes it, and why the last one asked did not.
    pub fn hand_over(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        seat: Seat,
        now: Instant,
    ) -> Result<(), (TcpStream, Unable)> {
        let (mut stream, mut seat, mut unable) = (Some(stream), Some(seat), Unable::Draining);
        self.ring.lock().pick(self.stations.len(), |number| {
            let Some(station) = self.stations.get(number) else { return false };
            station.take(&mut stream, peer, &mut seat, now).map_err(|why| unable = why).is_ok()
        });
        stream.map_or(Ok(()), |stream| Err((stream, unable)))
    }
}
