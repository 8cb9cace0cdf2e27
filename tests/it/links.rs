//! Links that servers show as directories: walks end, and nothing is listed twice.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::common::TestServer;
use crate::common::raw::RawClient;
use crate::listings::list;
use crate::odd_servers::OddServer;
use crate::programs::client_in;

const FEATURES: &str = "211-F\r\n MLST type*;size*;modify*;unique*;\r\n211 end\r\n";

/// A server whose directory `a` has links to itself, to the directory above, and links that are shown as such.
fn circular() -> OddServer {
    OddServer::start(|on, line| match line {
        "FEAT" => on.say(FEATURES),
        "MLSD" | "MLSD /" | "MLSD d" => on.transfer(
            "type=cdir;unique=R; .\r\ntype=dir;unique=A; a\r\n\
             type=file;size=3;modify=20260101000000;unique=F; f\r\n",
        ),
        "MLST a" => on.say("250-here\r\n type=dir;unique=A; a\r\n250 end\r\n"),
        line if line.starts_with("MLSD") => on.transfer(
            "type=dir;unique=R; up\r\ntype=dir;unique=A; self\r\n\
             type=OS.unix=slink:/a; l1\r\ntype=OS.unix=symlink; l2\r\n\
             type=file;size=3;modify=20260101000000;unique=G; g\r\n",
        ),
        line if line.starts_with("RETR") => on.transfer("abc"),
        line if line.starts_with("SITE CHMOD") => on.say("200 set\r\n"),
        _ => false,
    })
}

#[test]
fn a_walk_does_not_go_in_circles() {
    let server = circular();
    let (status, out, errors) = server.run("find\n");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(out, "a\na/g\na/l1\na/l2\na/self\na/up\nf\n");
    assert!(errors.contains("a/up: another name of a directory of this tree"), "{errors}");
    assert_eq!(server.count("MLSD"), 2);
    let (status, out, _) = server.run("du -s\n");
    assert_eq!((status, out.as_str()), (0, "6\t.\n"));
    let (status, _, errors) = server.run("chmod -R 755 a\n");
    assert_eq!(status, 0, "{errors} {:?}", server.lines.lock().unwrap());
    assert_eq!(server.count("SITE CHMOD 755 a/l"), 0);
    assert_eq!(server.count("SITE CHMOD 755 a/self/"), 0, "{errors}");
    let folder = tempfile::tempdir().unwrap();
    for command in ["get -r d\n", "mirror d copy\n"] {
        let (status, _, errors) = server.run_in(folder.path(), &[], command);
        assert!(matches!(status, 0 | 6), "{command}: {errors}");
    }
    for name in ["d/f", "d/a/g", "copy/f", "copy/a/g"] {
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), b"abc", "{name}");
    }
    assert!(!folder.path().join("d/a/self/g").exists());
}

#[test]
fn a_tree_without_an_end_ends() {
    let server = OddServer::start(|on, line| match line {
        "FEAT" => on.say(FEATURES),
        line if line.starts_with("MLSD") => on.transfer("type=dir; sub\r\n"),
        _ => false,
    });
    for command in ["find\n", "du\n", "get -r d\n"] {
        let before = server.count("MLSD");
        let (status, _, errors) = server.run(command);
        assert_eq!(status, 1, "{command}: {errors}");
        assert!(errors.contains("too deep"), "{errors}");
        assert!(server.count("MLSD") - before < 70, "{command}");
    }
}

#[test]
fn a_server_that_sends_one_unique_fact_for_all_loses_nothing() {
    let server = OddServer::start(|on, line| match line {
        "FEAT" => on.say(FEATURES),
        "MLSD d" => on.transfer("type=cdir;unique=0; .\r\ntype=dir;unique=0; e\r\n"),
        "MLSD d/e" => on.transfer("type=dir;unique=0; f\r\n"),
        "MLSD d/e/f" => on.transfer("type=file;size=3;unique=0; g\r\n"),
        line if line.starts_with("RETR") => on.transfer("abc"),
        _ => false,
    });
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) = server.run_in(folder.path(), &[], "get -r d\n");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(fs::read(folder.path().join("d/e/f/g")).unwrap(), b"abc");
}

#[test]
fn links_of_our_server_end_walks_and_can_be_entered() {
    let server = TestServer::writable();
    fs::create_dir_all(server.path("tree/sub")).unwrap();
    server.write("tree/sub/file", "abc");
    for (target, name) in [("..", "tree/sub/up"), (".", "tree/self"), ("sub", "tree/same")] {
        symlink(target, server.path(name)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let port = server.address().port().to_string();
    let run =
        |commands: &str| client_in(folder.path(), &["-v", "-c", commands, "127.0.0.1", &port], "");
    for command in ["find tree", "du tree", "chmod -R 700 tree", "get -r tree", "mirror tree copy"]
    {
        let (status, _, errors) = run(command);
        assert!(matches!(status, 0 | 6), "{command}: {errors}");
        let listed = errors.lines().filter(|line| line.contains("> MLSD")).count();
        assert!(listed < 12, "{command}: {listed}");
    }
    let mode = fs::metadata(server.path("tree/sub/file")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    let (status, out, errors) = run("cd tree/same; ls; rm -r /tree/sub/up /tree/same; cd /; find");
    assert_eq!(status, 0, "{errors}");
    assert!(out.starts_with("file\nup\n"), "{out}");
    assert!(server.path("tree/sub/file").exists() && !server.path("tree/same").exists());
}

#[test]
fn a_link_to_a_directory_is_listed_as_a_link_and_one_to_a_file_as_the_file() {
    let server = TestServer::writable();
    fs::create_dir(server.path("sub")).unwrap();
    server.write("sub/file", "abc");
    for (target, name) in [("sub", "way"), ("./sub", "a b;c"), ("sub/file", "copy"), ("no", "gone")]
    {
        symlink(target, server.path(name)).unwrap();
    }
    fs::create_dir(server.path("s p")).unwrap();
    symlink("s p", server.path("odd")).unwrap();
    let mut client = RawClient::log_in(server.address());
    let (text, _) = list(&mut client, "LIST");
    let line = |name: &str| {
        let found = text.lines().find(|line| line.split(" -> ").next().unwrap().ends_with(name));
        found.unwrap_or_else(|| panic!("{name} in {text}"))
    };
    for (name, begin, end) in [
        (" way", "lrwx", " way -> sub"),
        (" a b;c", "lrwx", " a b;c -> ./sub"),
        (" odd", "lrwx", " odd -> s p"),
        (" copy", "-rw", " copy"),
        (" gone", "lrwx", " gone"),
        (" sub", "drwx", " sub"),
    ] {
        let line = line(name);
        assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
    }
    let (facts, _) = list(&mut client, "MLSD");
    for (kind, name) in [
        ("OS.unix=slink:sub", "way"),
        ("OS.unix=slink:./sub", "a b;c"),
        ("OS.unix=slink", "odd"),
        ("OS.unix=slink", "gone"),
        ("dir", "sub"),
    ] {
        let end = format!("; {name}");
        let line = facts.lines().find(|line| line.ends_with(&end)).unwrap();
        assert!(line.contains(&format!("type={kind};")), "{line}");
    }
    let copy = facts.lines().find(|line| line.ends_with("; copy")).unwrap();
    assert!(copy.contains("type=file;size=3;"), "{copy}");
    let folder = tempfile::tempdir().unwrap();
    let port = server.address().port().to_string();
    let (status, _, errors) =
        client_in(folder.path(), &["-c", "mirror . copy", "127.0.0.1", &port], "");
    assert_eq!(fs::read_link(folder.path().join("copy/way")).unwrap().to_str(), Some("sub"));
    assert_eq!(fs::read(folder.path().join("copy/copy")).unwrap(), b"abc");
    assert!(matches!(status, 0 | 6), "{errors}");
}
