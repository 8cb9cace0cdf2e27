//! Whole sessions: for any input there is no panic, and nothing outside the root is touched. Lines that begin with `D`
//! are sent over data connections instead, if the server has opened any.
//!
//! The root is in memory (`/dev/shm`). A panic of a worker ends the process, because the fuzzer's hook aborts.
#![no_main]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use poolftpd::internal::settings::Config;
use poolftpd::internal::log::{Level, Log, Writer};
use poolftpd::Server;
use tempfile::TempDir;

struct Scene {
    address: SocketAddr,
    outside: TempDir,
    _server: Server,
    _root: TempDir,
    _writer: Writer,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let place = || if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
    let (root, outside) = (place(), place());
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    std::fs::write(root.path().join("a"), "text").unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("out")).unwrap();
    let mut config = Config::new(root.path().to_owned());
    config.bind = Some(IpAddr::from(Ipv4Addr::LOCALHOST));
    config.write = true;
    config.flush = false;
    config.limits.login_delay = Duration::ZERO;
    config.limits.data_connect_timeout = Duration::from_millis(2);
    config.limits.stall_timeout = Duration::from_millis(20);
    let (log, writer) = Log::start(Level::Quiet, std::io::sink()).unwrap();
    let server = Server::start(&config, log).unwrap();
    let address = server.listeners()[0].address;
    Scene { address, outside, _server: server, _root: root, _writer: writer }
});

/// Returns the port in a reply to EPSV.
fn passive_port(reply: &str) -> Option<u16> {
    let line = reply.lines().rev().find(|line| line.starts_with("229 "))?;
    line.rsplit('|').nth(1)?.parse().ok()
}

fuzz_target!(|input: &[u8]| {
    let scene = &*SCENE;
    let mut stream = TcpStream::connect(scene.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    stream.write_all(b"USER anonymous\r\nPASS x\r\nTYPE I\r\n").unwrap();
    let mut said = Vec::new();
    let mut room = [0; 4096];
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        let Some(data) = line.strip_prefix(b"D") else {
            if stream.write_all(line).is_err() {
                break;
            }
            continue;
        };
        // The replies so far contain the port.
        while let Ok(count @ 1..) = stream.read(&mut room) {
            said.extend_from_slice(&room[..count]);
        }
        if let Some(port) = passive_port(&String::from_utf8_lossy(&said)) {
            let to = SocketAddr::new(scene.address.ip(), port);
            if let Ok(mut connection) = TcpStream::connect(to) {
                let _sent = connection.write_all(data);
            }
        }
    }
    let _closed = stream.shutdown(Shutdown::Write);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ended = stream.read_to_end(&mut said);
    assert!(!matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "it hangs");
    assert!(!said.windows(6).any(|window| window == b"secret"));
    let outside: Vec<_> = std::fs::read_dir(scene.outside.path()).unwrap().collect();
    assert_eq!(outside.len(), 1);
    assert_eq!(std::fs::read(scene.outside.path().join("secret")).unwrap(), b"secret");
});
