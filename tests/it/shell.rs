//! Commands of the client in scripts: several names, existing files, options, and logins.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{TestServer, until};
use crate::programs::client_in;

/// Runs commands in a folder, and returns the exit status, the output and the messages.
fn run(
    server: &TestServer,
    folder: &Path,
    words: &[&str],
    commands: &str,
) -> (i32, String, String) {
    let port = server.address().port().to_string();
    client_in(folder, &[words, &["-c", commands, "127.0.0.1", &port]].concat(), "")
}

fn content(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

#[test]
fn no_local_file_is_replaced_without_a_decision() {
    let server = TestServer::start(|_| {});
    server.write("a", "remote a");
    server.write("b", "remote b");
    let folder = tempfile::tempdir().unwrap();
    let own = |text: &str| fs::write(folder.path().join("b"), text).unwrap();
    own("my own b, edited");
    for commands in ["get a b", "get b", "mget *", "get a b ./", "get -O . b"] {
        let (status, _, errors) = run(&server, folder.path(), &[], commands);
        assert_eq!(status, 7, "{commands}: {errors}");
        assert!(errors.contains("b exists and differs"), "{errors}");
        assert_eq!(content(folder.path(), "b"), "my own b, edited", "{commands}");
    }
    for (words, commands) in [(["--no-clobber"].as_slice(), "get b"), (&[], "get --no-clobber b")] {
        let (status, _, errors) = run(&server, folder.path(), words, commands);
        assert_eq!(status, 0, "{errors}");
        assert_eq!(content(folder.path(), "b"), "my own b, edited");
    }
    for (words, commands) in [(["--clobber"].as_slice(), "get b"), (&[], "get --clobber b")] {
        own("my own b, edited");
        let (status, _, errors) = run(&server, folder.path(), words, commands);
        assert_eq!(status, 0, "{errors}");
        assert_eq!(content(folder.path(), "b"), "remote b");
    }
}

#[test]
fn an_unchanged_file_is_skipped() {
    let server = TestServer::start(|_| {});
    server.write("a", "remote a");
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) = run(&server, folder.path(), &[], "get a");
    assert_eq!(status, 0, "{errors}");
    for commands in ["get a", "mget *", "get -r . ."] {
        let (status, _, errors) = run(&server, folder.path(), &["-v"], commands);
        assert_eq!(status, 0, "{errors}");
        assert!(errors.contains("a: unchanged, skipped"), "{errors}");
        assert!(!errors.contains("> RETR"), "{errors}");
    }
    // Another time, but the bytes are the same by their checksum.
    fs::write(folder.path().join("a"), "remote a").unwrap();
    let (status, _, errors) = run(&server, folder.path(), &[], "get a");
    assert_eq!(status, 0, "{errors}");
    // The same length, but other bytes.
    fs::write(folder.path().join("a"), "remote b").unwrap();
    let file = fs::File::options().write(true).open(folder.path().join("a")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(run(&server, folder.path(), &[], "get a").0, 7);
}

#[test]
fn get_and_put_take_several_names_and_patterns() {
    let server = TestServer::start(|config| config.write = true);
    for name in ["a", "b", "c", "d.txt", "e.txt"] {
        server.write(name, name);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("into")).unwrap();
    let check = |commands: &str, names: &[&str]| {
        let (status, _, errors) = run(&server, folder.path(), &[], commands);
        assert_eq!(status, 0, "{commands}: {errors}");
        for name in names {
            let last = name.rsplit('/').next().unwrap();
            assert_eq!(content(folder.path(), name), last, "{commands}");
        }
    };
    check("get a b c", &["a", "b", "c"]);
    check("get *.txt", &["d.txt", "e.txt"]);
    check("get a *.txt into/", &["into/a", "into/d.txt", "into/e.txt"]);
    check("get -O into b c", &["into/b", "into/c"]);
    check("mkdir up; put a b *.txt up/; put -O up c", &[]);
    for name in ["a", "b", "c", "d.txt", "e.txt"] {
        assert_eq!(content(server.root.path(), &format!("up/{name}")), name);
    }
    let (status, _, errors) = run(&server, folder.path(), &[], "get a missing c");
    assert_eq!(status, 1, "{errors}");
}

#[test]
fn an_option_that_a_command_does_not_have_changes_nothing() {
    let server = TestServer::start(|config| config.write = true);
    server.write("-r", "a file with an odd name");
    let folder = tempfile::tempdir().unwrap();
    for commands in ["mkdir -z x/y", "rmdir -p x", "rm -z ./-r", "rm --zoo x", "cd -z", "pwd -x"] {
        let (status, _, errors) = run(&server, folder.path(), &[], commands);
        assert_eq!(status, 2, "{commands}: {errors}");
        assert!(errors.contains("unknown option"), "{errors}");
    }
    assert_eq!(fs::read_dir(server.root.path()).unwrap().count(), 1);
    let (status, _, errors) = run(&server, folder.path(), &[], "get -- -r; rm -- -r; mkdir -- -p");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(content(folder.path(), "-r"), "a file with an odd name");
    assert!(server.root.path().join("-p").is_dir());
    assert!(!server.root.path().join("-r").exists());
}

#[test]
fn a_script_may_log_in_itself() {
    let server = TestServer::start(|_| {});
    let folder = tempfile::tempdir().unwrap();
    for (words, commands) in [
        ([].as_slice(), "user ftp x; pwd"),
        (&["-n"], "user ftp x; pwd"),
        (&["-n"], "quote USER ftp; quote PASS x; pwd"),
        (&["-n"], "prompt; hash; verbose; bell; binary; user ftp x; pwd; disconnect"),
    ] {
        let (status, out, errors) =
            run(&server, folder.path(), &[words, &["-v"]].concat(), commands);
        assert_eq!(status, 0, "{errors}");
        assert!(out.contains("/\n"), "{out}");
        assert_eq!(errors.matches("> USER ftp").count(), 1, "{errors}");
        assert!(!errors.contains("> USER anonymous"), "{errors}");
    }
    let (status, _, errors) = run(&server, folder.path(), &["-n", "-v"], "pwd");
    assert_eq!(status, 0, "{errors}");
    assert!(errors.contains("> USER anonymous"), "{errors}");
}

#[test]
fn a_password_comes_from_a_variable_or_a_descriptor() {
    let server = TestServer::start(|_| {});
    let port = server.address().port().to_string();
    let client = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftpclient"));
        command.args(words).args(["-v", "-u", "ftp", "-c", "pwd", "127.0.0.1", &port]);
        command.env("HOME", "/nonexistent").stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let end = |mut child: std::process::Child, input: &str| {
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let of_variable =
        client(&["--password-env", "MINE"]).env("MINE", "from-there").spawn().unwrap();
    let of_default = client(&[]).env("FTPCLIENT_PASSWORD", "from-there").spawn().unwrap();
    let of_descriptor = client(&["--password-fd", "0"]).spawn().unwrap();
    for (child, input) in
        [(of_variable, ""), (of_default, ""), (of_descriptor, "from-there\npwd\n")]
    {
        let (status, errors) = end(child, input);
        assert_eq!(status, Some(0), "{errors}");
    }
    let (status, errors) = end(client(&["--password-env", "NO_SUCH"]).spawn().unwrap(), "");
    assert_eq!(status, Some(2), "{errors}");
    let (status, errors) = end(client(&["--password-fd", "77"]).spawn().unwrap(), "");
    assert_eq!(status, Some(2), "{errors}");
}

#[test]
fn the_password_of_the_command_line_is_not_in_the_process_list() {
    let server = TestServer::start(|_| {});
    let port = server.address().port().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ftpclient"))
        .args(["-u", "ftp:topsecret", "127.0.0.1", &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let list = format!("/proc/{}/cmdline", child.id());
    until("the password is hidden", || {
        let words = fs::read_to_string(&list).unwrap();
        words.contains("ftpclient") && !words.contains("topsecret")
    });
    let mut script = child.stdin.take().unwrap();
    script.write_all(b"pwd\n").unwrap();
    drop(script);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(0), b"/\n".to_vec()));
}

#[test]
fn trees_are_made_listed_changed_and_deleted() {
    use std::os::unix::fs::PermissionsExt;
    let server = TestServer::start(|config| config.write = true);
    let folder = tempfile::tempdir().unwrap();
    let check = |commands: &str| {
        let (status, out, errors) = run(&server, folder.path(), &[], commands);
        assert_eq!(status, 0, "{commands}: {errors}");
        out
    };
    check("mkdir -p a/b/c; mkdir -p a/b/c");
    assert!(server.root.path().join("a/b/c").is_dir());
    server.write("a/one.txt", "1");
    server.write("a/b/two.txt", "22");
    server.write("a/b/c/three", "333");
    assert_eq!(check("find a"), "a/b\na/b/c\na/b/c/three\na/b/two.txt\na/one.txt\n");
    assert_eq!(check("find --name '*.txt' a"), "a/b/two.txt\na/one.txt\n");
    assert_eq!(check("find --type d a"), "a/b\na/b/c\n");
    assert_eq!(check("du -s a"), "6\ta\n");
    assert_eq!(check("du a"), "5\ta/b\n3\ta/b/c\n6\ta\n");
    check("chmod -R u+x,go-r a/b");
    let mode = |name: &str| {
        fs::metadata(server.root.path().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("a/b/two.txt"), mode("a/b")), (0o700, 0o711));
    check("chmod 600 a/one.txt; chmod u+x a/one.txt");
    assert_eq!(mode("a/one.txt"), 0o700);
    check("mkdir d; mv a/one.txt a/b/two.txt d; mv d/two.txt d/three.txt");
    assert_eq!(check("ls d"), "one.txt\nthree.txt\n");
    std::os::unix::fs::symlink("../d", server.root.path().join("a/link")).unwrap();
    check("rm -r a");
    assert!(!server.root.path().join("a").exists());
    assert_eq!(check("ls d"), "one.txt\nthree.txt\n", "a link is deleted, not followed");
    check("rm -f missing d/one.txt");
    assert_eq!(run(&server, folder.path(), &[], "rm -r missing").0, 1);
}

#[test]
fn listings_are_sorted_by_name_time_and_size() {
    let server = TestServer::start(|_| {});
    for (name, size, seconds) in [("a", 3, 1_000_000), ("b", 1, 3_000_000), ("c", 2, 2_000_000)] {
        server.write(name, "x".repeat(size));
        let file = fs::File::options().write(true).open(server.root.path().join(name)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    for (commands, expected) in [
        ("ls", "a\nb\nc\n"),
        ("ls -r", "c\nb\na\n"),
        ("ls -t", "b\nc\na\n"),
        ("ls -S", "a\nc\nb\n"),
        ("ls -Sr", "b\nc\na\n"),
        ("cls -1 [ab]", "a\nb\n"),
    ] {
        let (status, out, errors) = run(&server, folder.path(), &[], commands);
        assert_eq!((status, out.as_str()), (0, expected), "{commands}: {errors}");
    }
    let (_, out, _) = run(&server, folder.path(), &[], "ls -lt");
    let first = out.lines().next().unwrap();
    assert!(first.starts_with("-rw") && first.contains("1970-02-04 17:20 b"), "{out}");
}

#[test]
fn output_goes_to_files_programs_and_standard_output() {
    let server = TestServer::start(|config| config.write = true);
    server.write("a", "one\ntwo\n");
    server.write("b", "three\n");
    let folder = tempfile::tempdir().unwrap();
    let (status, out, errors) = run(
        &server,
        folder.path(),
        &[],
        "cat a b > all; cat b >> all; cat a b | grep -c o; get a -; ls | sort -r",
    );
    assert_eq!((status, out.as_str()), (0, "2\none\ntwo\nb\na\n"), "{errors}");
    assert_eq!(content(folder.path(), "all"), "one\ntwo\nthree\nthree\n");
    let port = server.address().port().to_string();
    let (status, _, errors) =
        client_in(folder.path(), &["-c", "put - from-input", "127.0.0.1", &port], "typed in");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(content(server.root.path(), "from-input"), "typed in");
    let (status, _, errors) = run(&server, folder.path(), &[], "cat a | exit 3");
    assert_eq!(status, 7, "{errors}");
}

#[test]
fn a_file_is_edited_and_put_back_only_if_it_changed() {
    let server = TestServer::start(|config| config.write = true);
    server.write("notes", "old");
    let folder = tempfile::tempdir().unwrap();
    let port = server.address().port().to_string();
    let edit = |editor: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_ftpclient"))
            .args(["-v", "-c", "edit notes", "127.0.0.1", &port])
            .current_dir(folder.path())
            .env("VISUAL", editor)
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, errors) = edit("true");
    assert_eq!(status, Some(0), "{errors}");
    assert!(!errors.contains("> STOR"), "{errors}");
    let (status, errors) = edit("sed -i s/old/new/");
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(content(server.root.path(), "notes"), "new");
    // Somebody else changes the file while it is edited.
    let remote = server.root.path().join("notes");
    let theirs = format!("f() {{ echo theirs >{}; echo mine >\"$1\"; }}; f", remote.display());
    let (status, errors) = edit(&theirs);
    assert_eq!(status, Some(6), "{errors}");
    assert_eq!(content(server.root.path(), "notes"), "theirs\n");
    let kept = errors.split("are kept in ").nth(1).unwrap().lines().next().unwrap();
    let kept = kept.trim_end_matches('.');
    assert_eq!(fs::read_to_string(kept).unwrap(), "mine\n");
}

#[test]
fn cd_returns_to_the_directory_before_and_to_that_of_the_login() {
    let server = TestServer::start(|_| {});
    fs::create_dir_all(server.root.path().join("a/b")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (status, out, errors) =
        run(&server, folder.path(), &[], "cd a; cd b; cd -; pwd; cd -; pwd; cd; pwd");
    assert_eq!((status, out.as_str()), (0, "/a\n/a/b\n/\n"), "{errors}");
}

#[test]
fn a_name_that_is_not_utf_8_is_typed_in_hexadecimal() {
    use std::os::unix::ffi::OsStrExt;
    let server = TestServer::start(|_| {});
    let name = std::ffi::OsStr::from_bytes(b"latin\xe9.txt");
    fs::write(server.root.path().join(name), "text").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) = run(&server, folder.path(), &[], "get latin\\xe9.txt");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "text");
}

#[test]
fn bookmarks_settings_and_the_start_file_are_kept() {
    let server = TestServer::start(|_| {});
    server.write("dir", "");
    fs::remove_file(server.root.path().join("dir")).unwrap();
    fs::create_dir(server.root.path().join("dir")).unwrap();
    server.write("a", "theirs");
    let folder = tempfile::tempdir().unwrap();
    let (status, _, errors) = run(&server, folder.path(), &[], "cd dir; bookmark place");
    assert_eq!(status, 0, "{errors}");
    let (status, out, errors) = run(&server, folder.path(), &[], "bookmark; open place; pwd");
    assert_eq!(status, 0, "{errors}");
    assert!(out.contains("place") && out.ends_with("/dir\n"), "{out}");
    let (status, out, errors) = client_in(folder.path(), &["-c", "pwd", "place"], "");
    assert_eq!((status, out.as_str()), (0, "/dir\n"), "{errors}");
    assert_eq!(run(&server, folder.path(), &[], "bookmark -d place; bookmark").1, "");
    // The words of lftp are no names.
    let words =
        "cd dir; bookmark add one; bookmark add two ftp://h/; bookmark del one; bookmark list";
    let (status, out, errors) = run(&server, folder.path(), &[], words);
    let listed: Vec<&str> = out.split_whitespace().collect();
    assert_eq!((status, listed), (0, vec!["two", "ftp://h/"]), "{errors}");
    for line in ["bookmark add", "bookmark one two three", "bookmark del no; bookmark del two"] {
        assert_eq!(run(&server, folder.path(), &[], line).0, 2, "{line}");
    }
    fs::write(folder.path().join("a"), "mine").unwrap();
    let start = folder.path().join(".config/ftpclient/rc");
    fs::write(start, "# mine\nset clobber on\n").unwrap();
    let (status, out, errors) = run(&server, folder.path(), &[], "set clobber; get a");
    assert_eq!((status, out.as_str()), (0, "on\n"), "{errors}");
    assert_eq!(content(folder.path(), "a"), "theirs");
    for wrong in ["set clobber maybe", "set no-such-setting 1"] {
        assert_eq!(run(&server, folder.path(), &[], wrong).0, 2);
    }
}

#[test]
fn help_describes_options_and_guesses_what_was_meant() {
    let server = TestServer::start(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let (_, out, _) = run(&server, folder.path(), &[], "help get; get --help");
    assert_eq!(out.matches("--no-clobber").count(), 4, "{out}");
    assert_eq!(out.matches("Example: get ").count(), 2, "{out}");
    let (status, _, errors) = run(&server, folder.path(), &[], "gte a");
    assert_eq!(status, 2);
    assert!(errors.contains("Did you mean 'get'?"), "{errors}");
}

#[test]
fn names_of_a_server_with_another_character_set_are_converted() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let server = TestServer::writable();
    let path = |name: &[u8]| server.root.path().join(OsStr::from_bytes(name));
    fs::create_dir(path(b"d\xe9p\xf4t")).unwrap();
    fs::write(path(b"d\xe9p\xf4t/fianc\xe9\xff.txt"), "love").unwrap();
    fs::write(path(b"\xcf\xf0\xe8"), "cyrillic").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let commands = "set charset latin1; cd dépôt; pwd; ls; get fiancéÿ.txt; put fiancéÿ.txt là; \
                    get -r -P 2 /dépôt copie; rm là; set charset cp1251; cd /; mget П*; set charset";
    let (status, out, errors) = run(&server, folder.path(), &[], commands);
    assert_eq!(status, 0, "{errors}");
    assert_eq!(out, "/dépôt\nfiancéÿ.txt\nwindows-1251\n");
    assert_eq!(content(folder.path(), "fiancéÿ.txt"), "love");
    assert_eq!(content(folder.path(), "copie/là"), "love");
    assert_eq!(content(folder.path(), "При"), "cyrillic");
    let (status, _, errors) = run(&server, folder.path(), &[], "set charset latin1; get При");
    assert_eq!(status, 2, "{errors}");
    assert_eq!(run(&server, folder.path(), &[], "set charset klingon").0, 2);
}
