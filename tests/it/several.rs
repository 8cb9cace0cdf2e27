//! Commands that transfer several files: on several connections at once, with one sum, and in ranges.

use std::fs;
use std::path::Path;
use std::sync::Barrier;

use crate::common::{TestServer, noise};
use crate::odd_servers::OddServer;
use crate::programs::client_in;

/// Number of connections in these tests.
const CONNECTIONS: usize = 3;

fn run(server: &TestServer, folder: &Path, commands: &str) -> (i32, String) {
    let port = server.address().port().to_string();
    let (status, _, errors) = client_in(folder, &["-c", commands, "127.0.0.1", &port], "");
    (status, errors)
}

/// Writes files of some directories below a folder, and returns their names.
fn plant(folder: &Path) -> Vec<String> {
    let names: Vec<String> = (0..40)
        .map(|number| format!("{}file{number}", ["", "a/", "a/b/", "c d/"][number % 4]))
        .collect();
    for name in &names {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), name).unwrap();
    }
    fs::create_dir(folder.join("empty")).unwrap();
    names
}

fn assert_copied(folder: &Path, names: &[String]) {
    for name in names {
        let found = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert_eq!(&found, name, "{}", folder.display());
    }
}

#[test]
fn trees_and_patterns_go_over_several_connections() {
    let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
    let names = plant(&server.root.path().join("tree"));
    for (number, parallel) in ["", "--parallel 3", "-P 64"].into_iter().enumerate() {
        let (down, up) = (format!("down{number}"), format!("up{number}"));
        let commands = format!("get -r {parallel} tree {down}; put -r {parallel} {down} {up}");
        let (status, errors) = run(&server, folder.path(), &commands);
        assert_eq!(status, 0, "{errors}");
        assert_copied(&folder.path().join(&down), &names);
        assert_copied(&server.root.path().join(&up), &names);
        for place in [folder.path().join(&down), server.root.path().join(&up)] {
            assert!(place.join("empty").is_dir());
        }
        assert_eq!(errors.matches("40 files, ").count(), 2, "{errors}");
        // One sum for each command, and no line for each file.
        assert_eq!(errors.matches("transferred in").count(), 2, "{errors}");
        assert!(!errors.contains("file7"), "{errors}");
    }
    fs::create_dir(folder.path().join("back")).unwrap();
    let commands = "lcd down0/a; mkdir m; mput -P 4 -O m file*; \
                    mget -P 4 -O ../../back m/*";
    let (status, errors) = run(&server, folder.path(), commands);
    assert_eq!(status, 0, "{errors}");
    assert_eq!(fs::read_to_string(folder.path().join("back/file5")).unwrap(), "a/file5");
    assert_eq!(fs::read_dir(folder.path().join("back")).unwrap().count(), 10);
}

#[test]
fn so_are_as_many_files_on_the_way_as_there_are_connections() {
    let (retrieved, stored) = (Barrier::new(CONNECTIONS), Barrier::new(CONNECTIONS));
    let server = OddServer::start(move |on, line| match line {
        "LIST -a" => {
            let lines = (0..CONNECTIONS)
                .map(|number| format!("-rw-r--r-- 1 u g 3 Jan 26 20:59 f{number}\r\n"));
            on.transfer(lines.collect::<Vec<_>>().concat())
        }
        line if line.starts_with("RETR f") => {
            retrieved.wait();
            on.transfer("abc")
        }
        line if line.starts_with("STOR f") => {
            stored.wait();
            on.store();
            true
        }
        "SIZE f0" | "SIZE f1" | "SIZE f2" => on.say("213 3\r\n"),
        _ => false,
    });
    let folder = tempfile::tempdir().unwrap();
    let commands = format!("mget -P {CONNECTIONS} f*\nmput -P {CONNECTIONS} f*\n");
    let (status, _, errors) = server.run_in(folder.path(), &[], &commands);
    assert_eq!(status, 0, "{errors}");
    assert_eq!((server.count("RETR f"), server.count("STOR f")), (CONNECTIONS, CONNECTIONS));
}

#[test]
fn a_server_that_accepts_few_connections_gets_all_files_over_these() {
    let server = TestServer::start(|config| {
        config.write = true;
        config.limits.max_per_ip = 2;
    });
    let folder = tempfile::tempdir().unwrap();
    let names = plant(&server.root.path().join("tree"));
    let (status, errors) =
        run(&server, folder.path(), "get -r -P 6 tree; put -r -P 6 tree up; mget -P 6 tree/f*");
    assert_eq!(status, 0, "{errors}");
    assert!(errors.contains("continuing with"), "{errors}");
    assert_copied(&folder.path().join("tree"), &names);
    assert_copied(&server.root.path().join("up"), &names);
}

#[test]
fn the_sum_counts_what_was_left_out() {
    let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
    plant(&server.root.path().join("tree"));
    assert_eq!(run(&server, folder.path(), "get -r tree").0, 0);
    let (status, errors) = run(&server, folder.path(), "get -r tree");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(errors.lines().last().unwrap(), "0 files, 0 B transferred; 40 unchanged");
    fs::write(folder.path().join("tree/file0"), "mine").unwrap();
    let (status, errors) = run(&server, folder.path(), "get -r --no-clobber tree");
    assert_eq!(status, 0, "{errors}");
    assert!(errors.ends_with("; 39 unchanged; 1 kept\n"), "{errors}");
    let (status, errors) = run(&server, folder.path(), "get -r -P 2 tree");
    assert_eq!(status, 7, "{errors}");
    assert!(errors.contains("; 39 unchanged; 1 not done\n"), "{errors}");
}

#[test]
fn ranges_are_asked_for_by_rang_where_the_server_offers_it() {
    let (server, folder) = (TestServer::start(|_| {}), tempfile::tempdir().unwrap());
    let content = noise(5 * 1024 * 1024);
    server.write("big", &content);
    let port = server.address().port().to_string();
    let commands = "pget -n 3 big; get -P 3 big again; get big one";
    let words = ["-v", "-c", commands, "127.0.0.1", &port];
    let (status, _, errors) = client_in(folder.path(), &words, "");
    assert_eq!(status, 0, "{errors}");
    let count = |words: &str| errors.lines().filter(|line| line.contains(words)).count();
    assert!(count("RANG ") >= 6, "{errors}");
    for name in ["big", "again", "one"] {
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), content, "{name}");
    }
}

#[test]
fn a_server_that_refuses_or_ignores_rang_is_asked_by_rest() {
    let content = noise(5 * 1024 * 1024);
    for reply in ["350 yes, but\r\n", "501 no\r\n"] {
        let file = content.clone();
        let offset = std::sync::Mutex::new(std::collections::HashMap::new());
        let server = OddServer::start(move |on, line| {
            let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
            match verb {
                "FEAT" => on.say("211-F\r\n RANG STREAM\r\n REST STREAM\r\n211 end\r\n"),
                "SIZE" => on.say(&format!("213 {}\r\n", file.len())),
                "RANG" => on.say(reply),
                "REST" => {
                    offset.lock().unwrap().insert(on.number, argument.parse::<usize>().unwrap());
                    on.say("350 yes\r\n")
                }
                "RETR" => {
                    let from = offset.lock().unwrap().remove(&on.number).unwrap_or_default();
                    on.transfer(&file[from..])
                }
                _ => false,
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let (status, _, errors) = server.run_in(folder.path(), &[], "pget -n 3 big\n");
        assert_eq!(status, 0, "{reply}: {errors}");
        assert!(server.count("RANG") > 0 && server.count("REST") > 0, "{reply}");
        assert!(fs::read(folder.path().join("big")).unwrap() == content, "{reply}");
    }
}

/// Returns the objects of standard output.
fn objects(out: &str) -> Vec<serde_json::Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn json_has_one_object_for_each_file_and_one_for_the_session() {
    let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
    plant(&server.root.path().join("tree"));
    let port = server.address().port().to_string();
    let run = |commands: &str| {
        let (status, out, errors) =
            client_in(folder.path(), &["--json", "-c", commands, "127.0.0.1", &port], "");
        (status, objects(&out), errors)
    };
    let (status, found, errors) =
        run("ls; cat tree/file0; get tree/file0; get missing; put file0 up");
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("tree/") && errors.contains("file0"), "what commands print: {errors}");
    assert_eq!(found.len(), 4, "{found:?}");
    let first = &found[0];
    assert_eq!(
        (&first["type"], &first["name"], &first["result"]),
        (&"file".into(), &"file0".into(), &"ok".into())
    );
    assert_eq!((&first["remote"], &first["bytes"]), (&"tree/file0".into(), &5.into()));
    assert!(first["local"].as_str().unwrap().ends_with("/file0") && first["seconds"].is_number());
    assert_eq!((&found[1]["name"], &found[1]["result"]), (&"missing".into(), &"failed".into()));
    assert!(found[1]["error"].as_str().unwrap().contains("550"));
    let end = &found[3];
    assert_eq!((&end["type"], &end["status"]), (&"summary".into(), &1.into()));
    assert_eq!((&end["files"], &end["failed"], &end["bytes"]), (&2.into(), &1.into(), &10.into()));
    for (commands, files) in [
        ("get -r -P 3 tree", 40),
        ("put -r -P 3 tree up2", 40),
        ("mirror -P 3 tree copy", 40),
        ("get -r tree again & queue get tree/file4", 41),
    ] {
        let (status, found, errors) = run(commands);
        assert_eq!(status, 0, "{commands}: {errors}");
        assert_eq!(found.len(), files + 1, "{commands}");
        assert_eq!(found[files]["files"], files, "{commands}");
    }
    let (status, found, _) = run("get -r tree");
    assert_eq!(
        (status, &found[0]["result"], &found[40]["skipped"]),
        (0, &"unchanged".into(), &40.into())
    );
    let (status, out, _) =
        client_in(folder.path(), &["--json", "--retries", "0", "127.0.0.1", "1"], "");
    assert_eq!((status, &objects(&out)[0]["status"]), (3, &3.into()));
}

#[test]
fn a_directory_without_a_name_of_its_own_is_copied_into_the_current_one() {
    let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
    let names = plant(&server.root.path().join("tree"));
    fs::create_dir_all(folder.path().join("into")).unwrap();
    for (number, commands) in [
        "cd tree; get -r .",
        "cd tree; get -r ./",
        "cd tree/a; get -r ..",
        "get -r -O ../into tree/.",
        "get -r tree/. .",
    ]
    .into_iter()
    .enumerate()
    {
        let here = folder.path().join(number.to_string());
        fs::create_dir(&here).unwrap();
        let (status, errors) = run(&server, &here, commands);
        assert_eq!(status, 0, "{commands}: {errors}");
        let to = if commands.contains("into") { folder.path().join("into") } else { here };
        assert_copied(&to, &names);
    }
    let up = "mkdir new; cd new; put -r .; mkdir /second; cd /second; lcd a; put -r ..";
    let (status, errors) = run(&server, &folder.path().join("0"), up);
    assert_eq!(status, 0, "{errors}");
    assert_copied(&server.root.path().join("new"), &names);
    assert_copied(&server.root.path().join("second"), &names);
    let (status, errors) = run(&server, folder.path(), "get .");
    assert_eq!(status, 2, "{errors}");
}

/// Returns the commands of a trace, each run of commands without a reply between them in one string.
fn runs(trace: &str) -> Vec<String> {
    let mut runs = vec![String::new()];
    for line in trace.lines() {
        match line.split_once("> ") {
            Some((_, command)) if line.starts_with("> ") || line.contains(" > ") => {
                let last = runs.last_mut().unwrap();
                last.push_str(command);
                last.push('|');
            }
            _ if line.contains("< ") => runs.push(String::new()),
            _ => {}
        }
    }
    runs
}

#[test]
fn what_follows_the_data_of_a_small_upload_goes_out_at_once() {
    let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
    for name in ["a", "b"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let port = server.address().port().to_string();
    let words = ["-v", "-c", "put a; put b", "127.0.0.1", &port];
    let (status, _, trace) = client_in(folder.path(), &words, "");
    assert_eq!(status, 0, "{trace}");
    let runs = runs(&trace);
    let is_at_once = |run: &String| run.starts_with("SIZE b|HASH b|MFMT ");
    assert!(runs.iter().any(is_at_once), "{runs:?}\n{trace}");
    assert_eq!(server.read("b"), b"b");
}

#[test]
fn a_large_file_is_checked_by_the_fastest_algorithm_and_a_comparison_uses_the_strong_one() {
    let (server, folder) = (TestServer::writable(), tempfile::tempdir().unwrap());
    fs::create_dir(server.path("d")).unwrap();
    server.write("d/big", noise(5_000_000));
    let port = server.address().port().to_string();
    let commands = "get d/big d/big; pget d/big two; mirror --checksum d d; get d/big three";
    fs::create_dir(folder.path().join("d")).unwrap();
    let words = ["-v", "-c", commands, "127.0.0.1", &port];
    let (status, _, trace) = client_in(folder.path(), &words, "");
    assert_eq!(status, 0, "{trace}");
    let choices: Vec<&str> = trace.lines().filter(|line| line.contains("OPTS HASH")).collect();
    let expected = ["CRC32", "SHA-256", "CRC32"];
    assert!(choices.len() == 3, "{choices:?}");
    assert!(choices.iter().zip(expected).all(|(line, name)| line.ends_with(name)), "{choices:?}");
    // The ranges are not fetched again to be compared.
    assert!(!trace.contains("REST 4934464"), "{trace}");
    for name in ["d/big", "two", "three"] {
        assert!(fs::read(folder.path().join(name)).unwrap() == server.read("d/big"), "{name}");
    }
}
