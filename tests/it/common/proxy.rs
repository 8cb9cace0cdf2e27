//! A cable that can be cut: relays control and data connections (EPSV), and ends them all after a number of data bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

/// The number of bytes that is never reached.
const ENDLESS: i64 = i64::MAX;

/// A relay in front of a server. When the last clone is dropped, its connections are closed and its threads end.
#[derive(Clone)]
pub(crate) struct Cable {
    /// The address where clients connect.
    pub(crate) address: SocketAddr,
    relay: Relay,
    _end: Arc<End>,
}

/// Closes everything when it is dropped; the relay's own threads do not hold it.
struct End(Relay);

impl Drop for End {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.cut();
        // Ends the wait for the next client.
        let _woken = TcpStream::connect(self.0.address);
    }
}

/// The part of a cable that its threads share.
#[derive(Clone)]
struct Relay {
    address: SocketAddr,
    target: SocketAddr,
    /// Number of data bytes until the cable is cut.
    left: Arc<AtomicI64>,
    cuts: Arc<AtomicU32>,
    /// The open connections.
    ends: Arc<Mutex<Vec<Weak<TcpStream>>>>,
    /// True if MODE B is refused.
    stream_only: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
}

impl Cable {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Relay {
            address,
            target,
            left: Arc::new(AtomicI64::new(ENDLESS)),
            cuts: Arc::default(),
            ends: Arc::default(),
            stream_only: Arc::default(),
            closed: Arc::default(),
        };
        let own = relay.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if own.closed.load(Ordering::SeqCst) {
                    break;
                }
                let relay = own.clone();
                thread::spawn(move || relay.relay_control(stream));
            }
        });
        Self { address, _end: Arc::new(End(relay.clone())), relay }
    }

    pub(crate) fn refuse_block_mode(&self) {
        self.relay.stream_only.store(true, Ordering::SeqCst);
    }

    /// Cuts all connections after this many more bytes of data; new connections work again.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.relay.left.store(i64::try_from(bytes).unwrap(), Ordering::SeqCst);
    }

    /// Cancels a planned cut.
    pub(crate) fn hold(&self) {
        self.relay.left.store(ENDLESS, Ordering::SeqCst);
    }

    pub(crate) fn cuts(&self) -> u32 {
        self.relay.cuts.load(Ordering::SeqCst)
    }

    /// Cuts all connections now; new connections work again.
    pub(crate) fn cut(&self) {
        self.relay.cut();
    }
}

impl Relay {
    fn cut(&self) {
        self.left.store(ENDLESS, Ordering::SeqCst);
        self.cuts.fetch_add(1, Ordering::SeqCst);
        for end in self.ends.lock().unwrap().drain(..).filter_map(|end| end.upgrade()) {
            let _closed = end.shutdown(Shutdown::Both);
        }
    }

    /// Adds a connection to those that a cut ends.
    fn register(&self, stream: TcpStream) -> Arc<TcpStream> {
        stream.set_nodelay(true).unwrap();
        let stream = Arc::new(stream);
        let mut ends = self.ends.lock().unwrap();
        ends.retain(|end| end.strong_count() > 0);
        ends.push(Arc::downgrade(&stream));
        drop(ends);
        if self.closed.load(Ordering::SeqCst) {
            let _closed = stream.shutdown(Shutdown::Both);
        }
        stream
    }

    fn relay_control(&self, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else { return };
        let (client, server) = (self.register(client), self.register(server));
        let (up, down) = (Arc::clone(&client), Arc::clone(&server));
        let relay = self.clone();
        thread::spawn(move || relay.relay_commands(&up, &down));
        let mut to_client = &*client;
        for line in BufReader::new(&*server).split(b'\n') {
            let Ok(mut line) = line else { break };
            line.push(b'\n');
            if line.starts_with(b"229 ") {
                let text = String::from_utf8_lossy(&line).into_owned();
                let port: u16 = text.rsplit('|').nth(1).unwrap().parse().unwrap();
                line = format!("229 ok (|||{}|)\r\n", self.relay_data(port)).into_bytes();
            }
            if to_client.write_all(&line).is_err() {
                break;
            }
        }
        let _closed = client.shutdown(Shutdown::Both);
        let _closed = server.shutdown(Shutdown::Both);
    }

    fn relay_commands(&self, client: &TcpStream, mut server: &TcpStream) {
        for line in BufReader::new(client).split(b'\n') {
            let Ok(mut line) = line else { break };
            line.push(b'\n');
            if line.starts_with(b"MODE B") && self.stream_only.load(Ordering::SeqCst) {
                line = b"MODE C\r\n".to_vec();
            }
            if server.write_all(&line).is_err() {
                break;
            }
        }
        let _closed = server.shutdown(Shutdown::Write);
    }

    /// Opens a port of the relay that leads to this port of the server.
    fn relay_data(&self, port: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap().port();
        let relay = self.clone();
        let target = SocketAddr::new(self.target.ip(), port);
        thread::spawn(move || {
            let Ok((client, _)) = listener.accept() else { return };
            // Only one connection is accepted; the port is not kept for another.
            drop(listener);
            let Ok(server) = TcpStream::connect(target) else { return };
            let (client, server) = (relay.register(client), relay.register(server));
            let (up, down) = (Arc::clone(&client), Arc::clone(&server));
            let other = relay.clone();
            thread::spawn(move || other.relay_bytes(&up, &down));
            relay.relay_bytes(&server, &client);
        });
        ours
    }

    fn relay_bytes(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let mut bytes = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let left = self.left.fetch_sub(i64::try_from(count).unwrap(), Ordering::SeqCst);
            let pass = usize::try_from(left).map_or(0, |left| left.min(count));
            if to.write_all(&bytes[..pass]).is_err() {
                break;
            }
            if pass < count {
                self.cut();
                return;
            }
        }
        let _closed = to.shutdown(Shutdown::Write);
    }
}
