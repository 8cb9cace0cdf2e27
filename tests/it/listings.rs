//! Listings as clients receive them: recursive ones with their headings and limits, and facts of unusable entries.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::TestServer;
use crate::common::raw::{RawClient, read_all};

/// Returns the text of a listing, and its final reply.
pub(crate) fn list(client: &mut RawClient, line: &str) -> (String, String) {
    let data = client.open_data();
    let reply = client.ask(line);
    assert!(reply.starts_with("150 "), "{reply}");
    (String::from_utf8(read_all(data)).unwrap(), client.reply())
}

/// Returns the headings and the names of a long listing.
fn outline(text: &str) -> Vec<&str> {
    let name = |line| str::split(line, " -> ").next().unwrap_or_default();
    text.lines().map(|line| name(line).rsplit(' ').next().unwrap()).collect()
}

#[test]
fn a_recursive_list_has_headings_and_every_directory_once() {
    let server = TestServer::writable();
    for directory in ["a/b", "a/c", "d", ".dot"] {
        fs::create_dir_all(server.path(directory)).unwrap();
    }
    for file in ["x", "a/b/y", "d/z", ".dot/w", "a/.poolftpd-part.q", ".poolftpd-over.1.q"] {
        server.write(file, "");
    }
    symlink("..", server.path("a/up")).unwrap();
    let mut client = RawClient::log_in(server.address());
    let (text, reply) = list(&mut client, "LIST -R");
    let expected = [
        ".:", "a", "d", "x", "", "./a:", "b", "c", "up", "", "./a/b:", "y", "", "./a/c:", "",
        "./d:", "z",
    ];
    assert_eq!(outline(&text), expected, "{text}");
    assert_eq!(reply, "226 Transfer complete.");
    let (text, _) = list(&mut client, "LIST -alnR");
    assert!(text.contains("\r\n./.dot:\r\n") && !text.contains("poolftpd"), "{text}");
    for line in ["LIST -R a", "LIST -lR a/", "LIST -l -R a"] {
        let (text, _) = list(&mut client, line);
        let expected = ["a:", "b", "c", "up", "", "a/b:", "y", "", "a/c:"];
        assert_eq!(outline(&text), expected, "{line}: {text}");
    }
    let (text, _) = list(&mut client, "LIST -R /");
    assert!(text.starts_with("/:\r\n") && text.contains("\r\n/a/b:\r\n"), "{text}");
    let (text, _) = list(&mut client, "LIST -Rd a");
    assert_eq!(outline(&text), ["a"], "{text}");
    let (text, _) = list(&mut client, "LIST -R x");
    assert_eq!(outline(&text), ["x"], "{text}");
}

#[test]
fn a_recursive_list_of_a_bottomless_tree_ends_and_says_so() {
    let server = TestServer::writable();
    fs::create_dir_all(server.path(&"d/".repeat(100))).unwrap();
    let mut client = RawClient::log_in(server.address());
    let (text, reply) = list(&mut client, "LIST -R");
    assert_eq!(text.lines().filter(|line| line.ends_with(':')).count(), 65, "{text}");
    assert!(reply.starts_with("226 ") && reply.contains("deeper than 64"), "{reply}");
    // The session continues, and the next listing has no such remark.
    let (_, reply) = list(&mut client, "LIST");
    assert_eq!(reply, "226 Transfer complete.");
}

#[test]
fn a_recursive_list_of_many_directories_comes_in_turns() {
    let server = TestServer::start(|config| config.workers = std::num::NonZeroUsize::MIN);
    for directory in 0..400 {
        fs::create_dir_all(server.path(&format!("{directory:03}/x/y"))).unwrap();
    }
    let mut client = RawClient::log_in(server.address());
    let (text, reply) = list(&mut client, "LIST -R");
    assert_eq!(text.lines().filter(|line| line.ends_with(':')).count(), 1 + 3 * 400);
    assert_eq!(reply, "226 Transfer complete.");
}

#[test]
fn a_pattern_with_a_backslash_lists_what_fits_and_is_refused_where_nothing_does() {
    let server = TestServer::writable();
    fs::create_dir(server.path("dir")).unwrap();
    server.write("dir/a.txt", "");
    server.write(r"odd\name.txt", "");
    let mut client = RawClient::log_in(server.address());
    for line in [r"LIST dir\*.*", r"NLST dir\*", r"LIST no\such\*.txt", r"LIST dir/x\*"] {
        let _data = client.open_data();
        let reply = client.ask(line);
        assert!(reply.starts_with("550 "), "{line}: {reply}");
    }
    let (text, _) = list(&mut client, r"NLST odd\*");
    assert_eq!(text, "odd\\name.txt\r\n");
    let (text, reply) = list(&mut client, "NLST *.csv");
    assert_eq!((text.as_str(), reply.as_str()), ("", "226 Transfer complete."));
}
