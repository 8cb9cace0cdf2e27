//! Commands that the client sends together, and the servers that get them one by one.

use std::net::TcpListener;

use crate::odd_servers::{Conversation, OddServer};

const OURS: &str = "220 poolftpd ready.\r\n";
const ENTRY: &str = "-rw-r--r-- 1 u g 3 Jan 26 20:59 a\r\n";

fn lists(on: &mut Conversation, line: &str) -> bool {
    match line {
        "LIST -a" | "LIST -a d" => on.transfer(ENTRY),
        "RETR a" | "RETR d/a" => on.transfer("abc"),
        _ => false,
    }
}

#[test]
fn a_server_that_is_not_known_to_read_line_by_line_gets_one_line_at_a_time() {
    let server = OddServer::start(lists);
    let (status, out, errors) = server.run("ls\ncd d\nget a\nmirror d e\n");
    assert_eq!((status, out.contains('a')), (0, true), "{errors}");
    assert_eq!(*server.early.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn the_commands_of_a_login_and_of_a_transfer_reach_our_server_together() {
    let server = OddServer::greeting(|_| OURS, lists);
    let (status, _, errors) = server.run("ls\ncd d\nget a\n");
    assert_eq!(status, 0, "{errors}");
    let early = server.early.lock().unwrap().clone();
    for command in ["FEAT", "EPSV", "LIST -a", "PWD", "MDTM a", "RETR a"] {
        assert!(early.iter().any(|line| line == command), "{command}: {early:?}");
    }
}

#[test]
fn a_refused_login_leaves_no_reply_of_the_commands_behind_it() {
    let server = OddServer::greeting(
        |_| OURS,
        |on, line| match line {
            "USER anna" => on.say("331 password?\r\n"),
            "PASS wrong" => on.say("530 no\r\n"),
            "NOOP" => on.say("200 noop\r\n"),
            _ => false,
        },
    );
    let (status, out, errors) = server.run("user anna wrong\nquote NOOP\n");
    assert_eq!((status, out.as_str()), (4, "200 noop\n"), "{errors}");
    assert!(errors.contains("530"), "{errors}");
}

#[test]
fn without_tls_a_password_waits_until_the_server_asks_for_it() {
    let server = OddServer::greeting(
        |_| OURS,
        |on, line| match line {
            "USER anna" => on.say("530 TLS is required; send AUTH TLS first.\r\n"),
            _ => false,
        },
    );
    let (status, _, errors) = server.run("user anna secret\n");
    assert_eq!((status, server.count("PASS secret")), (4, 0), "{errors}");
}

#[test]
fn a_transfer_that_waits_for_a_data_connection_is_aborted_before_another_is_tried() {
    let server = OddServer::greeting(
        |_| OURS,
        |on, line| match line {
            "EPSV" => {
                // A port on which nobody listens any more.
                let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                on.say(&format!("229 ok (|||{port}|)\r\n"))
            }
            "PASV" => {
                on.data = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = on.data.local_addr().unwrap().port();
                on.say(&format!("227 (127,0,0,1,{},{})\r\n", port / 256, port % 256))
            }
            // The server waits for the data connection after EPSV.
            "LIST -a" if on.is_announced => on.transfer(ENTRY),
            "LIST -a" => true,
            "ABOR" => {
                on.is_announced = true;
                on.say("426 aborted\r\n226 done\r\n")
            }
            _ => false,
        },
    );
    let (status, out, errors) = server.run("ls\n");
    assert_eq!((status, out.as_str()), (0, "a\n"), "{errors}");
    assert_eq!(server.count("ABOR"), 1);
}
