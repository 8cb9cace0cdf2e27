//! The balancer: hands each new client to the next slave, round robin.
//!
//! The connection itself is handed over, not relayed: the slave that takes it serves the client alone from then on. So
//! data connections of every mode, and the client's address, are as without a balancer. A slave is a [`local_backend`] in
//! this process, or a process that has registered with the [`registry`].
//!
//! It is given a function that makes sessions, and does not depend on them.

mod backend;
pub mod command_socket;
pub mod control_client;
pub mod handover;
pub mod identity;
pub mod local_backend;
pub mod registry;
pub mod request;
mod round_robin;
pub mod takeover;

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::net::admitted::AdmittedClient;
use crate::net::listener::refuse;
use crate::pool::Task;
use backend::Backend;
pub use backend::{Dispatcher, Load, Unavailable};
use local_backend::LocalBackend;
use registry::Registry;
use round_robin::RoundRobin;

/// The slaves, and the order of their turns.
#[derive(Debug)]
pub struct Balancer {
    backends: Vec<Arc<LocalBackend>>,
    registry: Option<Arc<Registry>>,
    ring: Mutex<RoundRobin>,
}

impl Balancer {
    /// Creates a balancer for these backends, and for the slave processes of a registry.
    ///
    /// A backend without a number is not a slave but the master itself: it serves when no slave is registered, or none
    /// can.
    #[must_use]
    pub fn new(backends: Vec<Arc<LocalBackend>>, registry: Option<Arc<Registry>>) -> Self {
        Self { backends, registry, ring: Mutex::default() }
    }

    /// Hands a client to the next slave that takes it.
    ///
    /// # Errors
    /// Returns the client when no slave takes it, and the reason of the last slave asked.
    pub fn hand_over(
        &self,
        client: AdmittedClient,
        now: Instant,
    ) -> Result<(), (AdmittedClient, Unavailable)> {
        let mut refused = Some((client, Unavailable::Silent));
        let mut offer = |taker: &dyn Backend| {
            refused = refused.take().and_then(|(client, _)| taker.take(client, now).err());
            refused.is_none()
        };
        let (slaves, master): (Vec<_>, Vec<_>) =
            self.takers().into_iter().partition(|taker| taker.load().slave.is_some());
        let picked = self
            .ring
            .lock()
            .pick(slaves.len(), |number| slaves.get(number).is_some_and(|taker| offer(&**taker)));
        if picked.is_none() {
            master.iter().any(|taker| offer(&**taker));
        }
        refused.map_or(Ok(()), Err)
    }

    /// Runs a task in the pool of the first backend. Without one, drops it.
    pub fn run(&self, task: Box<dyn Task>) {
        if let Some(backend) = self.backends.first() {
            backend.pool().admit(task);
        }
    }

    fn takers(&self) -> Vec<Arc<dyn Backend>> {
        let backends =
            self.backends.iter().map(|local_backend| Arc::clone(local_backend) as Arc<dyn Backend>);
        let processes = self
            .registry
            .iter()
            .flat_map(|registry| registry.serving())
            .map(|slave| slave as Arc<dyn Backend>);
        backends.chain(processes).collect()
    }
}

impl Dispatcher for Balancer {
    fn hand_over_or_refuse(&self, client: AdmittedClient, now: Instant) {
        if let Err((client, unable)) = self.hand_over(client, now) {
            refuse(&client.stream, &unable.to_string());
        }
    }

    fn loads(&self) -> Vec<Load> {
        self.takers().iter().map(|taker| taker.load()).collect()
    }

    fn set_draining(&self, slave: Option<u32>, draining: bool) -> bool {
        let mut takers = self.takers();
        takers.retain(|taker| slave.is_none() || taker.load().slave == slave);
        for taker in &takers {
            taker.set_draining(draining);
        }
        !takers.is_empty()
    }
}
