//! The status server: health, metrics, the page, and who may read them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::outside::{find, run_script, skip};
use crate::common::raw::RawClient;
use crate::common::{PATIENCE, noise, until};

const SERVER: &str = env!("CARGO_BIN_EXE_ftpserver");

/// The real server with a status server at a Unix socket, or elsewhere.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
}

impl Running {
    pub(crate) fn start(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        let replaced =
            words.iter().map(|word| word.replace("DIR", folder.path().to_str().unwrap()));
        let mut child = Command::new(SERVER)
            .args(["--bind", "127.0.0.1", "--port", "0", "--write", "--workers", "2", "--root"])
            .arg(folder.path().join("root"))
            .args(replaced)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, address, folder }
    }

    pub(crate) fn at_socket() -> Self {
        Self::start(&["--status", "unix:DIR/status", "--status-paths"])
    }

    fn open(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join("status")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Returns the response to a request at the Unix socket.
    pub(crate) fn get(&self, path: &str) -> String {
        exchange(self.open(), &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Waits until the response contains a word.
    pub(crate) fn expect(&self, path: &str, word: &str) -> String {
        until(&format!("{word} in {path}"), || self.get(path).contains(word));
        self.get(path)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    // A client that sent too much may find its connection reset behind the response.
    let _ended = stream.read_to_end(&mut response);
    String::from_utf8_lossy(&response).into_owned()
}

#[test]
fn a_session_and_its_transfer_are_shown_while_they_last_and_names_are_no_markup() {
    let server = Running::at_socket();
    let name = "<b>\"big\".bin";
    fs::write(server.folder.path().join("root").join(name), noise(64 << 20)).unwrap();
    let mut client = RawClient::log_in(server.address);
    let data = client.open_data();
    client.say(&format!("RETR {name}"));
    assert!(client.line().starts_with("150 "));
    let text = server.expect("/sessions.json", "\"state\":\"transfer\"");
    for word in [
        "\"user\":\"anonymous\"",
        "\"peer_ip\":\"127.0.0.1\"",
        "\"verb\":\"RETR\"",
        "\"path\":\"/<b>\\\"big\\\".bin\"",
        "\"size\":67108864",
        "\"per_second\":",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let page = server.get("/");
    assert!(page.contains("/&lt;b&gt;&quot;big&quot;.bin") && !page.contains("<b>"), "{page}");
    drop((data, client));
    server.expect("/sessions.json", "\"sessions\":[]");
    let metrics = server.expect(
        "/metrics",
        "poolftpd_transfers_total{direction=\"download\",outcome=\"cut-off\"} 1\n",
    );
    assert!(metrics.contains("poolftpd_logins_total{result=\"ok\"} 1\n"), "{metrics}");
}

#[test]
fn health_metrics_and_events_are_served_while_every_client_place_is_in_use() {
    let server =
        Running::start(&["--status", "unix:DIR/status", "--max-clients", "3", "--max-per-ip", "3"]);
    let clients: Vec<RawClient> = (0..3).map(|_| RawClient::log_in(server.address)).collect();
    assert!(server.expect("/readyz", "503 Service Unavailable").contains("\"because\":[\"full\"]"));
    assert!(server.get("/livez").starts_with("HTTP/1.1 200 OK\r\n"));
    drop(clients);
    server.expect("/readyz", "{\"ready\":true,\"because\":[]}");
    server.expect("/metrics", "poolftpd_queue_wait_seconds_count{class=\"bulk\"} ");
    let mut stream = server.open();
    stream.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let data = lines.find(|line| line.starts_with("data: ")).unwrap();
    assert!(data.starts_with("data: {\"status\":{\"version\"") && data.ends_with("]}"), "{data}");
    assert!(lines.any(|line| line == "event: state"), "a second event follows");
}

#[test]
fn requests_have_bounds_and_change_nothing() {
    let server = Running::at_socket();
    let ask = |request: &str| exchange(server.open(), request);
    assert!(ask("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(ask("DELETE /sessions.json HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(ask("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(server.get("/../etc/passwd").starts_with("HTTP/1.1 404 "));
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(10_000));
    assert!(ask(&long).starts_with("HTTP/1.1 431 "));
    let head = ask("HEAD / HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    for header in [
        "Content-Security-Policy: default-src 'none'",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
    ] {
        assert!(head.contains(header), "{head}");
    }
    // Clients that send nothing take places, but not for ever, and further ones are turned away.
    let silent: Vec<UnixStream> = (0..64).map(|_| server.open()).collect();
    until("a silent client is turned away", || {
        let mut stream = server.open();
        let _sent = stream.write_all(b"GET /livez HTTP/1.1\r\n\r\n");
        let mut text = String::new();
        let _read = stream.read_to_string(&mut text);
        text.starts_with("HTTP/1.1 200 ")
    });
    drop(silent);
    let mode = fs::metadata(server.folder.path().join("status")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

/// Returns a port that is free now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_port_is_read_by_its_address_alone_or_with_the_token() {
    let port = free_port();
    let server = Running::start(&["--status", &port.to_string()]);
    let get = |host: &str, more: &str| {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        exchange(stream, &format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"))
    };
    assert!(get(&format!("127.0.0.1:{port}"), "").starts_with("HTTP/1.1 200 "));
    assert!(get("localhost", "").starts_with("HTTP/1.1 200 "));
    assert!(get("evil.example", "").starts_with("HTTP/1.1 421 "));
    drop(server);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let port = free_port();
    let words =
        ["--status", &format!("0.0.0.0:{port}"), "--status-token-file", token.to_str().unwrap()];
    let _server = Running::start(&words);
    let get = |more: &str| {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        exchange(stream, &format!("GET /livez HTTP/1.1\r\nHost: ftp.example\r\n{more}\r\n"))
    };
    let refused = get("");
    assert!(
        refused.starts_with("HTTP/1.1 401 ") && refused.contains("WWW-Authenticate: Basic"),
        "{refused}"
    );
    assert!(get("Authorization: Bearer 0123456789abcdeX\r\n").starts_with("HTTP/1.1 401 "));
    assert!(get("Authorization: Bearer\r\n").starts_with("HTTP/1.1 401 "));
    assert!(get("Authorization: Bearer 0123456789abcdef\r\n").starts_with("HTTP/1.1 200 "));
    // any:0123456789abcdef
    assert!(
        get("Authorization: Basic YW55OjAxMjM0NTY3ODlhYmNkZWY=\r\n").starts_with("HTTP/1.1 200 ")
    );
    // any:wrong
    assert!(get("Authorization: Basic YW55Ondyb25n\r\n").starts_with("HTTP/1.1 401 "));
}

#[test]
fn an_address_that_others_reach_needs_a_token_of_enough_characters() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "short\n").unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let refusal = |words: &[&str]| {
        let command =
            Command::new(SERVER).args(["--port", "0", "--root"]).arg(&root).args(words).output();
        let output = command.unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let text = refusal(&["--status", "0.0.0.0:0"]);
    assert!(text.contains("needs a token") && text.contains("--status-token-file"), "{text}");
    let text = refusal(&["--status", "0.0.0.0:0", "--status-token-file", token.to_str().unwrap()]);
    assert!(text.contains("at least 16 characters"), "{text}");
    let check = Command::new(SERVER).args(["check", "--status", "0.0.0.0:0"]).output().unwrap();
    let text = String::from_utf8(check.stdout).unwrap();
    assert!(!check.status.success() && text.contains("needs a token"), "{text}");
    let text = refusal(&["--status", "ftp.example:1"]);
    assert!(text.contains("is no place"), "{text}");
}

#[test]
fn prometheus_accepts_the_metrics_and_the_alert_rules_pass_their_tests() {
    if find("promtool").is_none() {
        return skip("promtool is not installed");
    }
    let server = Running::at_socket();
    RawClient::log_in(server.address).ask("QUIT");
    let text = server.expect("/metrics", "poolftpd_logins_total{result=\"ok\"} 1\n");
    let body = text.split_once("\r\n\r\n").unwrap().1;
    fs::write(server.folder.path().join("metrics"), body).unwrap();
    run_script("promtool check metrics < metrics", server.folder.path(), &[]).unwrap();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/prometheus");
    run_script(
        "promtool check rules alerts.yml && promtool test rules alerts-test.yml",
        &rules,
        &[],
    )
    .unwrap();
    // Every metric of the rules and of the dashboard exists.
    let dashboard = fs::read_to_string(rules.join("../grafana/poolftpd.json")).unwrap();
    let alerts = fs::read_to_string(rules.join("alerts.yml")).unwrap();
    for name in words(&(dashboard + &alerts)).filter(|word| word.starts_with("poolftpd_")) {
        let is_optional = name.starts_with("poolftpd_certificate");
        assert!(body.contains(&name) || is_optional, "{name} is no metric");
    }
}

#[test]
fn a_prometheus_scrapes_the_server_and_evaluates_the_rules() {
    if find("prometheus").is_none() {
        return skip("prometheus is not installed");
    }
    let port = free_port();
    let server = Running::start(&["--status", &port.to_string()]);
    let folder = server.folder.path();
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/prometheus/alerts.yml");
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{rules}']\n\
         scrape_configs: [{{job_name: poolftpd, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    );
    fs::write(folder.join("prometheus.yml"), config).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut prometheus = Killed(
        Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    // On a busy machine, its start takes longer than all that follows.
    let mut log = BufReader::new(prometheus.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let is_ready = log.any(|line| line.contains("Server is ready to receive web requests"));
    assert!(is_ready, "prometheus has ended");
    std::thread::spawn(move || log.for_each(drop));
    let ask = |path: &str| {
        let Ok(stream) = TcpStream::connect(&address) else { return String::new() };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(
            stream,
            &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
        )
    };
    let value = |query: &str, value: &str| {
        let found = || ask(&format!("/api/v1/query?query={query}"));
        until(&format!("{query} is not {value}"), || found().contains(&format!(",\"{value}\"]")));
    };
    value("up", "1");
    value("poolftpd_root_up", "1");
    RawClient::log_in(server.address).ask("QUIT");
    value("poolftpd_logins_total{result=\"ok\"}", "1");
    let rules = ask("/api/v1/rules");
    assert!(
        rules.contains("PoolftpdRootUnavailable") && !rules.contains("\"health\":\"err\""),
        "{rules}"
    );
}

#[test]
fn sessions_of_slave_processes_are_shown_with_their_transfers() {
    let server = Running::at_socket();
    fs::write(server.folder.path().join("root/big"), noise(64 << 20)).unwrap();
    let host = format!("localhost:{}", server.address.port());
    let mut slaves = Command::new(env!("CARGO_BIN_EXE_ftpslaves"));
    let slaves = slaves.args(["--count", "1", &host]).stderr(Stdio::null());
    let slaves = Killed(slaves.spawn().unwrap());
    let status = server.expect("/status.json", "{\"slave\":1,\"process\":");
    let mut client = RawClient::log_in(server.address);
    let data = client.open_data();
    assert!(client.ask("RETR big").starts_with("150 "));
    let text = server.expect("/sessions.json", "\"state\":\"transfer\"");
    for word in ["\"user\":\"anonymous\"", "\"verb\":\"RETR\"", "\"path\":\"/big\"", ".1-1\""] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(server.get("/").contains("RETR /big"));
    // A slave process that hangs delays no response.
    let (_, process) = status.split_once("\"process\":").unwrap();
    let process: i32 = process.split(',').next().unwrap().parse().unwrap();
    let process = Pid::from_raw(process).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    server.expect("/sessions.json", "\"sessions\":[]");
    kill_process(process, Signal::CONT).unwrap();
    server.expect("/sessions.json", "\"path\":\"/big\"");
    drop((data, client));
    server.expect("/sessions.json", "\"sessions\":[]");
    drop(slaves);
}

/// A process that is killed at the end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').map(str::to_owned)
}
