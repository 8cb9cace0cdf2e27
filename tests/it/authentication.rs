//! Users who are in no users file: an authenticator behind a socket, PAM, LDAP, the environment, client certificates.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use poolftpd::internal::net::tls::{TlsFiles, pin_of};
use poolftpd::internal::settings::Config;
use poolftpd::internal::storage::password;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::outside::{find, run_script, skip};
use super::common::raw::RawClient;
use super::common::secure::{SecureClient, certificate, config};
use super::common::{TestServer, until};

/// A socket that an authenticator listens at, in a folder of its own.
struct Socket {
    folder: TempDir,
    path: PathBuf,
    /// The number of connections.
    asked: Arc<AtomicUsize>,
}

impl Socket {
    /// Serves each connection by a function on a thread of its own, until the test ends.
    fn serve(serve: impl Fn(UnixStream) + Send + Sync + Clone + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { folder, path, asked }
    }

    /// Answers each request by a function.
    fn answering(answer: impl Fn(&Value) -> Value + Send + Sync + Clone + 'static) -> Self {
        Self::serve(move |mut stream| {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let answer = answer(&serde_json::from_str(&line).unwrap());
            // The server may have given up.
            let _written = writeln!(stream, "{answer}");
        })
    }

    /// Runs a program for each connection, with the connection as its standard input and output.
    fn running(command: impl Fn() -> Command + Send + Sync + Clone + 'static) -> Self {
        Self::serve(move |stream| {
            let input = OwnedFd::from(stream.try_clone().unwrap());
            let mut child = command().stdin(input).stdout(OwnedFd::from(stream)).spawn().unwrap();
            child.wait().unwrap();
        })
    }

    fn server(&self, adjust: impl FnOnce(&mut Config)) -> TestServer {
        let path = self.path.clone();
        TestServer::start(|config| {
            config.auth_socket = Some(path);
            config.anonymous = false;
            config.limits.login_delay = Duration::ZERO;
            adjust(config);
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn try_log_in(server: &TestServer, name: &str, password: &str) -> String {
    RawClient::greeted(server.address()).try_log_in(name, password)
}

#[test]
fn an_authenticator_decides_who_logs_in_and_what_they_may() {
    let homes = tempfile::tempdir().unwrap();
    let home = homes.path().join("bob");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("a"), "his").unwrap();
    let answered = home.clone();
    let socket = Socket::answering(move |request| {
        assert_eq!(request["client"], "127.0.0.1");
        assert_eq!(request["tls"], false);
        let is_right = request["user"] == "bob" && request["password"] == "secret";
        if !is_right {
            return json!({"id": request["id"], "ok": false});
        }
        json!({"id": request["id"], "ok": true, "home": answered, "may": "list,read,write", "quota": 10, "sessions": 2})
    });
    let server = socket.server(|_| {});
    assert_eq!(try_log_in(&server, "bob", "wrong"), "530 Login incorrect.");
    assert_eq!(try_log_in(&server, "eve", "secret"), "530 Login incorrect.");
    let mut bob = RawClient::log_in_as(server.address(), "bob", "secret");
    assert_eq!(bob.retrieve("a"), b"his");
    assert_eq!(bob.ask("DELE a"), "550 Permission denied.");
    assert_eq!(bob.ask("AVBL"), "213 7");
    let asked = socket.asked();
    let _second = RawClient::log_in_as(server.address(), "bob", "secret");
    assert_eq!(socket.asked(), asked, "the right password is remembered");
    assert_eq!(try_log_in(&server, "bob", "secret"), "530 Too many sessions for this user.");
    assert_eq!(try_log_in(&server, "bob", "wrong"), "530 Login incorrect.");
    server.server.as_ref().unwrap().reload();
    drop(bob);
    until("the place is not given back", || {
        try_log_in(&server, "bob", "secret").starts_with("230 ")
    });
    assert!(socket.asked() > asked + 1, "a reload forgets what was remembered");
}

#[test]
fn a_host_has_an_authenticator_of_its_own() {
    let answers = |right: &'static str| {
        Socket::answering(
            move |request| json!({"id": request["id"], "ok": request["password"] == right, "may": "list"}),
        )
    };
    let (usual, other) = (answers("usual"), answers("other"));
    let root = tempfile::tempdir().unwrap();
    let path = other.path.display();
    let host = format!("other.example,root={},auth-socket={path}", root.path().display());
    let server = usual.server(|config| config.virtual_hosts.push(host.parse().unwrap()));
    let log_in = |host: Option<&str>, password: &str| {
        let mut client = RawClient::greeted(server.address());
        if let Some(host) = host {
            assert!(client.ask(&format!("HOST {host}")).starts_with("220 "));
        }
        client.try_log_in("bob", password)
    };
    assert!(log_in(None, "usual").starts_with("230 "));
    assert!(log_in(Some("other.example"), "other").starts_with("230 "));
    assert!(log_in(None, "other").starts_with("530 "));
    assert!(log_in(Some("other.example"), "usual").starts_with("530 "));
    let mut client = RawClient::greeted(server.address());
    client.ask("HOST other.example");
    assert!(client.try_log_in("anonymous", "x").starts_with("530 "), "users only");
}

#[test]
fn users_of_the_file_are_not_asked_for_elsewhere() {
    let socket = Socket::answering(|request| json!({"id": request["id"], "ok": true}));
    let users = socket.folder.path().join("users");
    fs::write(&users, format!("alice {}\n", password::hash(b"secret").unwrap())).unwrap();
    let server = socket.server(|config| config.users = Some(users));
    assert!(try_log_in(&server, "alice", "secret").starts_with("230 "));
    assert_eq!(try_log_in(&server, "alice", "wrong"), "530 Login incorrect.");
    assert_eq!(socket.asked(), 0);
    assert!(try_log_in(&server, "bob", "any").starts_with("230 "));
}

#[test]
fn an_authenticator_that_fails_admits_no_one_and_is_logged() {
    for (answer, what) in [
        (json!({"id": 1, "error": "LDAP is down"}), "LDAP is down"),
        (json!({"id": 1, "ok": true, "home": "/nonexistent/home"}), "cannot open the home"),
        (json!({"id": 1, "ok": true, "may": "fly"}), "'fly' is not a permission"),
        (json!("yes"), "not a JSON object"),
    ] {
        let socket = Socket::answering(move |_| answer.clone());
        let server = socket.server(|config| config.level = poolftpd::internal::log::Level::Normal);
        assert!(try_log_in(&server, "bob", "secret").starts_with("530 "), "{what}");
        server.log.expect(&["event=login-failed", what]);
    }
}

#[test]
fn an_authenticator_that_hangs_is_given_up_and_holds_no_other_user() {
    let socket = Socket::serve(|mut stream| {
        // Reads until the server gives up.
        let _read = stream.read_to_end(&mut Vec::new());
    });
    let users = socket.folder.path().join("users");
    fs::write(&users, format!("alice {}\n", password::hash(b"secret").unwrap())).unwrap();
    let server = socket.server(|config| {
        config.users = Some(users);
        config.auth_timeout = Duration::from_millis(300);
    });
    let mut waiting: Vec<RawClient> = (0..20)
        .map(|number| {
            let mut client = RawClient::greeted(server.address());
            assert!(client.ask(&format!("USER bob{number}")).starts_with("331 "));
            client.say("PASS x");
            client
        })
        .collect();
    assert!(try_log_in(&server, "alice", "secret").starts_with("230 "));
    for client in &mut waiting {
        assert_eq!(client.reply(), "530 Logins cannot be verified now; try again later.");
    }
}

fn helper(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/auth").join(name)
}

/// Returns true if the Python of the system has a module.
fn has_module(name: &str) -> bool {
    let run = Command::new("/usr/bin/python3").args(["-c", &format!("import {name}")]).output();
    run.is_ok_and(|run| run.status.success())
}

#[test]
fn pam_verifies_users_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    // The files of the system as PAM shall see them, in a namespace of its own.
    let setup = format!(
        "for file in passwd shadow; do mount --bind {place}/$file /etc/$file; done; mount --bind {place}/pam.d /etc/pam.d"
    );
    let namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-eu", "-c"]);
        command
    };
    for file in ["passwd", "shadow"] {
        fs::write(folder.path().join(file), "").unwrap();
    }
    fs::create_dir(folder.path().join("pam.d")).unwrap();
    let is_possible = namespace().arg(&setup).output().is_ok_and(|run| run.status.success());
    if !is_possible || !has_module("pam") {
        return skip("python3-pampy or unshare is missing");
    }
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("a"), "hers").unwrap();
    let hash = "$6$rounds=20000$dnLBECHBdodHZQK9$sJGB8ucLh/Uxyb13pUWI4ZBe2Z6LzjWXTCwOT8Bm/cG2sSZsTu.d5yzf6SERCqbsXPYtPdOhxjk.TCLuXbNwS/";
    let users = ["root", "alice", "old"];
    let numbers = [0, 1001, 1002];
    let passwd: Vec<String> = users
        .iter()
        .zip(numbers)
        .map(|(user, number)| format!("{user}:x:{number}:{number}::{}:/bin/sh\n", home.display()))
        .collect();
    let shadow =
        format!("root:{hash}:19000::::::\nalice:{hash}:19000::::::\nold:{hash}:19000:::::19001:\n");
    fs::write(folder.path().join("passwd"), passwd.concat()).unwrap();
    fs::write(folder.path().join("shadow"), shadow).unwrap();
    let service = "auth required pam_unix.so\naccount required pam_unix.so\n";
    fs::write(folder.path().join("pam.d/poolftpd"), service).unwrap();
    let program = helper("ftpauth-pam").display().to_string();
    let socket = Socket::running(move || {
        let mut command = namespace();
        command.arg(format!("{setup}; exec {program}"));
        command
    });
    let server = socket.server(|config| config.level = poolftpd::internal::log::Level::Normal);
    let reply = |name: &str, password: &str| try_log_in(&server, name, password);
    let said = reply("alice", "secret");
    assert!(said.starts_with("230 "), "{said}\n{}", server.log.text());
    assert_eq!(RawClient::log_in_as(server.address(), "alice", "secret").retrieve("a"), b"hers");
    for (name, password) in [
        ("alice", "wrong"),
        ("alice", ""),
        ("nobody", "secret"),
        ("root", "secret"),
        ("old", "secret"),
    ] {
        assert_eq!(reply(name, password), "530 Login incorrect.", "{name}");
    }
    fs::remove_file(folder.path().join("pam.d/poolftpd")).unwrap();
    assert!(reply("alice", "Secret").starts_with("530 "));
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Starts slapd at a Unix socket in this folder, with two users.
fn slapd(folder: &Path) -> Running {
    let place = folder.display();
    fs::create_dir(folder.join("db")).unwrap();
    fs::write(
        folder.join("slapd.conf"),
        format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/nis.schema\n\
             modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {place}/pid\ndatabase mdb\nsuffix dc=example\n\
             rootdn cn=admin,dc=example\nrootpw top\ndirectory {place}/db\n\
             access to attrs=userPassword by anonymous auth by * none\naccess to * by dn.exact=cn=reader,dc=example read by anonymous auth by * none\n"
        ),
    )
    .unwrap();
    fs::write(
        folder.join("users.ldif"),
        format!(
            "dn: dc=example\nobjectClass: dcObject\nobjectClass: organization\no: example\n\n\
             dn: cn=reader,dc=example\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\nuserPassword: reads\n\n\
             dn: uid=alice,dc=example\nobjectClass: account\nobjectClass: posixAccount\ncn: alice\nuidNumber: 1001\ngidNumber: 1001\n\
             homeDirectory: {place}/home\nuserPassword: secret\n\n\
             dn: uid=star,dc=example\nobjectClass: account\nobjectClass: posixAccount\ncn: star\nuidNumber: 1002\ngidNumber: 1002\n\
             homeDirectory: {place}/home\nuserPassword: other\n"
        ),
    )
    .unwrap();
    run_script("PATH=$PATH:/usr/sbin; slapadd -f slapd.conf -l users.ldif", folder, &[]).unwrap();
    let address = format!("ldapi://{}", place.to_string().replace('/', "%2F") + "%2Fldapi");
    let program = Path::new("/usr/sbin/slapd");
    let child = Command::new(program)
        .args(["-d", "0", "-h", &address, "-f"])
        .arg(folder.join("slapd.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("slapd does not listen", || UnixStream::connect(folder.join("ldapi")).is_ok());
    Running(child)
}

#[test]
fn ldap_verifies_users_of_a_directory() {
    if !Path::new("/usr/sbin/slapd").is_file() || !has_module("ldap") {
        return skip("slapd or python3-ldap is missing");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("home")).unwrap();
    fs::write(folder.path().join("home/a"), "hers").unwrap();
    let directory = slapd(folder.path());
    fs::write(folder.path().join("password"), "reads\n").unwrap();
    let place = folder.path().display().to_string();
    let options = format!(
        "--uri=ldapi://{}%2Fldapi\n--base=dc=example\n--bind-dn=cn=reader,dc=example\n--bind-password-file={place}/password\n--set=may=list,read\n",
        place.replace('/', "%2F")
    );
    fs::write(folder.path().join("options"), options).unwrap();
    let socket = Socket::running(move || {
        let mut command = Command::new(helper("ftpauth-ldap"));
        command.arg(format!("@{place}/options"));
        command
    });
    let server = socket.server(|config| config.level = poolftpd::internal::log::Level::Normal);
    let reply = |name: &str, password: &str| try_log_in(&server, name, password);
    let said = reply("alice", "secret");
    assert!(said.starts_with("230 "), "{said}\n{}", server.log.text());
    let mut alice = RawClient::log_in_as(server.address(), "alice", "secret");
    assert_eq!(alice.retrieve("a"), b"hers");
    assert_eq!(alice.ask("DELE a"), "550 Permission denied.");
    for (name, password) in [
        ("alice", "wrong"),
        ("alice", ""),
        ("nobody", "secret"),
        ("al*", "secret"),
        ("*", "secret"),
        ("reader", "reads"),
    ] {
        assert_eq!(reply(name, password), "530 Login incorrect.", "{name}");
    }
    drop(directory);
    assert_eq!(reply("star", "other"), "530 Logins cannot be verified now; try again later.");
    server.log.expect(&["event=login-failed", "LDAP"]);
}

#[test]
fn the_helpers_have_units_that_systemd_accepts() {
    if find("systemd-analyze").is_none() {
        return skip("systemd-analyze is missing");
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["ftpauth-pam", "ftpauth-ldap"] {
        for unit in [format!("{name}.socket"), format!("{name}@.service")] {
            let text = fs::read_to_string(helper(&unit)).unwrap();
            // The programs are not installed here.
            let text = text.replace("/usr/lib/poolftpd/", &format!("{}/", helper("").display()));
            fs::write(folder.path().join(&unit), text).unwrap();
        }
        let unit = folder.path().join(format!("{name}.socket"));
        let run = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        let about_us: Vec<&str> = said
            .lines()
            // The manual page is not installed here.
            .filter(|line| line.contains("ftpauth") && !line.contains("Command 'man "))
            .collect();
        assert!(about_us.is_empty(), "{said}");
    }
}

#[test]
fn containers_name_users_in_variables_and_in_files_of_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let home = folder.path().join("h o:me");
    for place in [&root, &home] {
        fs::create_dir(place).unwrap();
    }
    fs::write(home.join("a"), "his").unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, format!("carol:{}\ndave:word:may=list\n", password::hash(b"pass").unwrap()))
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
        .args(["--port=0", "--quiet", "--bind=127.0.0.1", "--root"])
        .arg(&root)
        .env(
            "POOLFTPD_USER_1",
            format!("bob:secret:home={}:may=list,read:from=127.0.0.1,::1", home.display()),
        )
        .env("POOLFTPD_USER_2_FILE", &secret)
        .env("POOLFTPD_LOGIN_DELAY", "0")
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().rsplit(':').next().unwrap().parse().unwrap();
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let mut bob = RawClient::log_in_as(address, "bob", "secret");
    assert_eq!(bob.retrieve("a"), b"his");
    assert_eq!(bob.ask("DELE a"), "550 Permission denied.");
    for (name, password, code) in [
        ("carol", "pass", "230 "),
        ("dave", "word", "230 "),
        ("bob", "wrong", "530 "),
        ("anonymous", "x", "530 "),
    ] {
        let reply = RawClient::greeted(address).try_log_in(name, password);
        assert!(reply.starts_with(code), "{name}: {reply}");
    }
}

#[test]
fn a_wrong_user_of_the_environment_is_one_line_without_the_password() {
    for (variable, value, what) in [
        ("POOLFTPD_USER_1", "bob", "NAME:PASSWORD"),
        ("POOLFTPD_USER_1", "bob:hidden:colour=blue", "unknown setting 'colour'"),
        ("POOLFTPD_USER_1", "bob:$6$hidden", "sha512-crypt hash is damaged"),
        ("POOLFTPD_USER_7_FILE", "/nonexistent/hidden", "POOLFTPD_USER_7_FILE"),
    ] {
        for words in [&[][..], &["check", "--show"]] {
            let run = Command::new(env!("CARGO_BIN_EXE_ftpserver"))
                .args(words)
                .args(["--port=0", "--root=/tmp"])
                .env(variable, value)
                .output()
                .unwrap();
            let said = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
            assert_eq!(run.status.code(), Some(1), "{said}");
            assert!(said.contains(what), "{said}");
            assert!(!said.contains("hidden") || value.starts_with('/'), "{said}");
        }
    }
}

/// Returns the configuration of a client with a certificate of this common name, and its fingerprint.
fn with_certificate(
    authority: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
) -> (Arc<ClientConfig>, String) {
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(Vec::new()).unwrap();
    own.distinguished_name.push(DnType::CommonName, name);
    let own = own.signed_by(&key, authority).unwrap();
    let fingerprint = pin_of(own.der());
    let (chain, key) =
        (vec![own.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap());
    let provider = rustls::crypto::ring::default_provider();
    let certified = rustls::sign::CertifiedKey::from_der(chain, key, &provider).unwrap();
    let mut client = ClientConfig::clone(&config(rustls::ALL_VERSIONS));
    client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    (Arc::new(client), fingerprint)
}

#[test]
fn a_certificate_is_required_beside_the_password_or_replaces_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let path = folder.path().join("authority.pem");
    fs::write(&path, authority.pem()).unwrap();
    let (alices, _) = with_certificate(&authority, "alice a");
    let (bobs, fingerprint) = with_certificate(&authority, "robot");
    let users = folder.path().join("users");
    let hash = password::hash(b"secret").unwrap();
    fs::write(
        &users,
        format!(
            "alice {hash} certificate=CN=alice%20a\nbob {hash} certificate=sha256:{fingerprint} login=certificate\ncarol {hash}\n"
        ),
    )
    .unwrap();
    let server = TestServer::start(|config| {
        let keys = vec![certificate(folder.path(), "localhost")];
        config.tls = TlsFiles { keys, client_authorities: Some(path), client_optional: true };
        config.users = Some(users);
        config.limits.login_delay = Duration::ZERO;
    });
    let reply = |client: &Arc<ClientConfig>, name: &str, password: &str| {
        let mut client =
            SecureClient::connect_with(server.address(), Arc::clone(client), "localhost");
        assert!(client.ask(&format!("USER {name}")).starts_with("331 "));
        client.ask(&format!("PASS {password}"))
    };
    let none = config(rustls::ALL_VERSIONS);
    for (client, name, password, is_right) in [
        (&alices, "alice", "secret", true),
        (&alices, "alice", "wrong", false),
        (&bobs, "alice", "secret", false),
        (&none, "alice", "secret", false),
        (&bobs, "bob", "", true),
        (&bobs, "bob", "whatever", true),
        (&alices, "bob", "secret", false),
        (&none, "bob", "secret", false),
        (&none, "carol", "secret", true),
        (&bobs, "carol", "wrong", false),
    ] {
        let said = reply(client, name, password);
        assert_eq!(said.starts_with("230 "), is_right, "{name} {password}: {said}");
    }
    // Without TLS there is no certificate.
    assert_eq!(try_log_in(&server, "alice", "secret"), "530 Login incorrect.");
    assert!(try_log_in(&server, "carol", "secret").starts_with("230 "));
}
