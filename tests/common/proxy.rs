//! A cable that can be cut: relays control and data connections (EPSV), and ends them all after so many bytes of data.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test program uses its own part of this"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Never cuts.
const ENDLESS: i64 = i64::MAX;

#[derive(Clone)]
pub struct Cable {
    /// Where clients connect.
    pub address: SocketAddr,
    target: SocketAddr,
    /// Bytes of data until it is cut.
    left: Arc<AtomicI64>,
    cuts: Arc<AtomicU32>,
    ends: Arc<Mutex<Vec<TcpStream>>>,
    /// Whether MODE B is made to be refused.
    stream_only: Arc<AtomicBool>,
}

impl Cable {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cable = Self {
            address: listener.local_addr().unwrap(),
            target,
            left: Arc::new(AtomicI64::new(ENDLESS)),
            cuts: Arc::default(),
            ends: Arc::default(),
            stream_only: Arc::default(),
        };
        let own = cable.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let cable = own.clone();
                thread::spawn(move || cable.relay_control(&stream));
            }
        });
        cable
    }

    pub fn refuse_block_mode(&self) {
        self.stream_only.store(true, Ordering::SeqCst);
    }

    /// Cuts everything after so many more bytes of data; afterwards it is whole again.
    pub fn cut_after(&self, bytes: u64) {
        self.left.store(i64::try_from(bytes).unwrap(), Ordering::SeqCst);
    }

    /// Cuts nothing any more.
    pub fn hold(&self) {
        self.left.store(ENDLESS, Ordering::SeqCst);
    }

    pub fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::SeqCst)
    }

    /// Cuts everything now; afterwards it is whole again.
    pub fn cut(&self) {
        self.left.store(ENDLESS, Ordering::SeqCst);
        self.cuts.fetch_add(1, Ordering::SeqCst);
        for end in self.ends.lock().unwrap().drain(..) {
            let _closed = end.shutdown(Shutdown::Both);
        }
    }

    fn register(&self, stream: &TcpStream) {
        stream.set_nodelay(true).unwrap();
        self.ends.lock().unwrap().push(stream.try_clone().unwrap());
    }

    fn relay_control(&self, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else { return };
        self.register(client);
        self.register(&server);
        let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let cable = self.clone();
        thread::spawn(move || cable.relay_commands(up, down));
        let mut client = client;
        for line in BufReader::new(&server).split(b'\n') {
            let Ok(mut line) = line else { break };
            line.push(b'\n');
            if line.starts_with(b"229 ") {
                let text = String::from_utf8_lossy(&line).into_owned();
                let port: u16 = text.rsplit('|').nth(1).unwrap().parse().unwrap();
                line = format!("229 ok (|||{}|)\r\n", self.relay_data(port)).into_bytes();
            }
            if client.write_all(&line).is_err() {
                break;
            }
        }
        let _closed = client.shutdown(Shutdown::Both);
        let _closed = server.shutdown(Shutdown::Both);
    }

    fn relay_commands(&self, client: TcpStream, mut server: TcpStream) {
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

    /// The port of ours that leads to one of the server's.
    fn relay_data(&self, port: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap().port();
        let cable = self.clone();
        let target = SocketAddr::new(self.target.ip(), port);
        thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let Ok(server) = TcpStream::connect(target) else { return };
            cable.register(&client);
            cable.register(&server);
            let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let other = cable.clone();
            thread::spawn(move || other.relay_bytes(&up, &down));
            cable.relay_bytes(&server, &client);
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
