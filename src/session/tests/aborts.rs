//! ABOR, which ends a transfer whatever stands before it.

use super::*;

#[test]
fn abor_ends_a_download_and_the_line_after_it_is_served() {
    let mut pair = Pair::logged_in();
    let _data = pair.stalled_download();
    pair.say("STAT\r\nABOR\r\nNOOP");
    pair.expect("211 RETR: ");
    pair.expect("426 Transfer aborted.");
    pair.expect("226 ABOR successful.");
    pair.expect("200 Done.");
    assert_eq!(pair.patience(), pair.limits().idle_timeout);
}

#[test]
fn abor_behind_other_lines_ends_a_download_and_each_line_is_served_in_its_turn() {
    let mut pair = Pair::logged_in();
    for lines in ["PWD\r\n\r\nABOR", "PWD\r\nNONE\r\n abor"] {
        let _data = pair.stalled_download();
        pair.say(lines);
        pair.expect("426 Transfer aborted.");
        pair.expect("257 ");
        pair.expect("500 ");
        pair.expect("225 ");
    }
    // They come one after the other.
    let _data = pair.stalled_download();
    pair.say("PWD");
    pair.say("ABOR");
    pair.expect("426 Transfer aborted.");
    pair.expect("257 ");
    pair.expect("225 ");
}

#[test]
fn abor_behind_other_lines_keeps_an_upload_from_its_name() {
    for lines in ["PWD\r\nABOR", "\r\nABOR", "SIZE a\r\nTYPE I\r\nABOR", "NONE\r\nABOR"] {
        let mut pair = Pair::logged_in();
        std::fs::write(pair.root.path().join("a"), b"old").unwrap();
        let mut data = pair.data();
        pair.say("STOR a");
        pair.expect("150 ");
        data.write_all(b"text").unwrap();
        pair.say(lines);
        data.shutdown(Shutdown::Write).unwrap();
        pair.expect("426 Transfer aborted.");
        assert_eq!(std::fs::read(pair.root.path().join("a")).unwrap(), b"old", "{lines:?}");
    }
}

#[test]
fn abor_behind_the_data_of_an_upload_wins() {
    let mut pair = Pair::logged_in();
    let mut data = pair.data();
    pair.say("STOR a");
    pair.expect("150 ");
    data.write_all(b"text").unwrap();
    data.shutdown(Shutdown::Write).unwrap();
    // The rest of the line arrives later.
    pair.client.get_mut().write_all(b"ABO").unwrap();
    while pair.session.activity.name() != "judging" {
        pair.run();
    }
    assert!(pair.patience() <= Duration::from_secs(1) && !pair.has_reply());
    pair.say("R");
    pair.expect("426 ");
    pair.expect("226 ABOR successful.");
    assert!(!pair.root.path().join("a").exists());
}
