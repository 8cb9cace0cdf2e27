//! Uploads as a sequence of operations on a tree: tests of the stored files, and of the bytes that are kept.

use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, XattrFlags, fgetxattr, flock, fsetxattr, inotify};
use rustix::io::Errno;
use tempfile::TempDir;

mod records;

use super::state::Role;
use super::*;
use crate::ftp::VirtualPath;
use crate::storage::{Durability, Root};

const ONE: Owner = Owner(1);
const OTHER: Owner = Owner(2);
const TERMS: Terms = Terms { owner: ONE, durability: Durability::Flushed };

struct Scene {
    directory: TempDir,
    root: Root,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        Self { directory, root }
    }

    fn begin(&self, name: &str, start: Start) -> Result<Upload, UploadError> {
        self.begin_as(ONE, name, start)
    }

    fn begin_as(&self, owner: Owner, name: &str, start: Start) -> Result<Upload, UploadError> {
        let terms = Terms { owner, durability: Durability::Flushed };
        Ok(Upload::begin(&self.root, &path(name), start, terms)?.prepare()?)
    }

    fn is_being_replaced(&self, name: &str) -> bool {
        self.root.is_being_replaced(&path(name), ONE)
    }

    /// Writes the text, without committing it.
    fn upload(&self, name: &str, start: Start, text: &str) -> Upload {
        let mut upload = self.begin(name, start).unwrap();
        upload.write(text.as_bytes()).unwrap();
        upload
    }

    fn complete(&self, name: &str, start: Start, text: &str) {
        self.upload(name, start, text).commit(|| Go::On).unwrap();
    }

    fn cut_off(&self, name: &str, start: Start, text: &str) {
        drop(self.upload(name, start, text));
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.path().join(name)).ok()
    }

    fn kept(&self, name: &str) -> Option<u64> {
        self.root.kept(&path(name)).ok().map(|part| part.1)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Makes a file an hour older.
    fn age(&self, name: &str) {
        let file = File::options().write(true).open(self.directory.path().join(name)).unwrap();
        let now = file.metadata().unwrap().modified().unwrap();
        file.set_modified(now - Duration::from_hours(1)).unwrap();
    }
}

fn path(name: &str) -> VirtualPath {
    VirtualPath::root().join(name.as_bytes()).unwrap()
}

#[test]
fn a_file_has_its_name_when_it_is_complete_and_not_before() {
    let scene = Scene::new();
    let upload = scene.upload("a", Start::Overwrite, "new");
    assert_eq!(scene.read("a"), None);
    upload.commit(|| Go::On).unwrap();
    assert_eq!(scene.read("a").unwrap(), "new");
    let upload = scene.upload("a", Start::Overwrite, "n");
    assert_eq!(scene.read("a").unwrap(), "new");
    drop(upload);
    assert_eq!(scene.read("a").unwrap(), "new");
    scene.complete("a", Start::Overwrite, "newer");
    assert_eq!((scene.read("a").unwrap().as_str(), scene.names()), ("newer", vec!["a".to_owned()]));
}

#[test]
fn what_was_cut_off_is_gone_on_from_where_the_client_says() {
    let scene = Scene::new();
    scene.cut_off("a", Start::Overwrite, "0123456789");
    assert_eq!((scene.read("a"), scene.kept("a")), (None, Some(10)));
    assert!(matches!(scene.begin("a", Start::At(11)), Err(UploadError::BeyondEnd)));
    scene.cut_off("a", Start::At(10), "ab");
    scene.cut_off("a", Start::End, "cd");
    assert_eq!(scene.kept("a"), Some(14));
    scene.complete("a", Start::At(3), "xy");
    assert_eq!(scene.read("a").unwrap(), "012xy");
    assert_eq!((scene.kept("a"), scene.names()), (None, vec!["a".to_owned()]));
}

#[test]
fn an_upload_that_never_writes_costs_nothing_that_is_there() {
    let scene = Scene::new();
    for start in [Start::Overwrite, Start::End] {
        drop(scene.begin("a", start));
    }
    assert!(scene.names().is_empty());
    scene.cut_off("a", Start::Overwrite, "kept");
    for start in [Start::Overwrite, Start::At(2), Start::End, Start::At(9)] {
        drop(scene.begin("a", start));
    }
    assert_eq!(scene.kept("a"), Some(4));
}

#[test]
fn a_complete_file_is_gone_on_from_without_being_touched() {
    let scene = Scene::new();
    scene.complete("a", Start::Overwrite, "0123456789");
    let append = scene.upload("a", Start::End, "ab");
    assert_eq!(scene.read("a").unwrap(), "0123456789");
    append.commit(|| Go::On).unwrap();
    assert_eq!(scene.read("a").unwrap(), "0123456789ab");
    scene.complete("a", Start::At(4), "!");
    assert_eq!(scene.read("a").unwrap(), "0123!");
    assert!(matches!(scene.begin("a", Start::At(6)), Err(UploadError::BeyondEnd)));
    assert!(matches!(scene.begin("none", Start::At(6)), Err(UploadError::BeyondEnd)));
    scene.complete("none", Start::End, "new");
    assert_eq!(scene.read("none").unwrap(), "new");
}

#[test]
fn beside_a_complete_file_what_is_kept_is_resumed_only_by_who_knows_its_own_offset() {
    let scene = Scene::new();
    scene.complete("a", Start::Overwrite, "old");
    scene.cut_off("a", Start::Overwrite, "new ve");
    assert_eq!((scene.read("a").unwrap().as_str(), scene.kept("a")), ("old", None));
    // These commands may mean the old file, because clients see only its size.
    assert!(matches!(scene.begin("a", Start::End), Err(UploadError::Interrupted)));
    assert!(matches!(scene.begin("a", Start::At(3)), Err(UploadError::Interrupted)));
    scene.complete("a", Start::At(6), "rsion");
    assert_eq!(
        (scene.read("a").unwrap().as_str(), scene.names()),
        ("new version", vec!["a".to_owned()])
    );
}

#[test]
fn what_is_kept_counts_only_as_long_as_the_file_it_was_to_replace_stands() {
    let scene = Scene::new();
    scene.complete("a", Start::Overwrite, "old");
    scene.cut_off("a", Start::Overwrite, "stale");
    assert!(scene.is_being_replaced("a"));
    fs::write(scene.directory.path().join("a"), "other").unwrap();
    assert!(!scene.is_being_replaced("a"));
    scene.complete("a", Start::End, "!");
    assert_eq!(scene.read("a").unwrap(), "other!");
    let upload = scene.upload("b", Start::Overwrite, "late");
    fs::write(scene.directory.path().join("b"), "from elsewhere").unwrap();
    drop(upload);
    assert_eq!(scene.names().iter().filter(|name| name.contains("part")).count(), 0);
}

#[test]
fn what_went_on_from_a_complete_file_and_is_cut_off_leaves_that_alone() {
    let scene = Scene::new();
    scene.complete("a", Start::Overwrite, "0123");
    scene.cut_off("a", Start::End, "45");
    scene.cut_off("a", Start::At(4), "45");
    drop(Upload::begin(&scene.root, &path("a"), Start::At(4), TERMS).unwrap());
    assert_eq!((scene.read("a").unwrap().as_str(), scene.names()), ("0123", vec!["a".to_owned()]));
    scene.complete("a", Start::End, "45");
    assert_eq!(scene.read("a").unwrap(), "012345");
}

#[test]
fn whoever_is_superseded_before_it_has_its_name_gives_none_to_the_other() {
    let scene = Scene::new();
    let old = scene.upload("a", Start::Overwrite, "0123");
    let mut new = scene.begin("a", Start::At(2)).unwrap();
    new.write(b"unfinished").unwrap();
    assert!(old.commit(|| Go::On).is_err());
    assert_eq!(scene.read("a"), None);
    new.write(b", now finished").unwrap();
    new.commit(|| Go::On).unwrap();
    assert_eq!(scene.read("a").unwrap(), "01unfinished, now finished");
}

#[test]
fn whoever_is_superseded_while_it_is_flushed_gives_no_name_to_the_other() {
    let scene = Scene::new();
    let old = scene.upload("a", Start::Overwrite, "0123");
    let mut new = None;
    let committed = old.commit(|| {
        let mut other = scene.begin("a", Start::At(2)).unwrap();
        other.write(b"unfinished").unwrap();
        new = Some(other);
        Go::On
    });
    assert!(committed.is_err() && scene.read("a").is_none());
    let mut new = new.unwrap();
    new.write(b", now finished").unwrap();
    new.commit(|| Go::On).unwrap();
    assert_eq!(scene.read("a").unwrap(), "01unfinished, now finished");
}

#[test]
fn an_upload_that_is_not_to_be_committed_after_all_is_kept() {
    let scene = Scene::new();
    let committed = scene.upload("a", Start::Overwrite, "0123").commit(|| Go::Stop);
    assert!(matches!(committed.unwrap(), Committed::Stopped { kept: 4 }));
    assert_eq!((scene.read("a"), scene.kept("a")), (None, Some(4)));
}

#[test]
fn who_copies_from_a_lost_upload_leaves_alone_what_came_in_its_place() {
    let scene = Scene::new();
    let lost = scene.upload("a", Start::Overwrite, "0123");
    let late = Upload::begin(&scene.root, &path("a"), Start::At(4), TERMS).unwrap();
    drop(lost);
    scene.root.remove(&path("a")).unwrap();
    let fresh = scene.upload("a", Start::Overwrite, "fresh");
    let mut late = late.prepare().unwrap();
    late.write(b"45").unwrap();
    fresh.commit(|| Go::On).unwrap();
    assert_eq!(scene.read("a").unwrap(), "fresh");
    late.commit(|| Go::On).unwrap();
    assert_eq!(
        (scene.read("a").unwrap().as_str(), scene.names()),
        ("012345", vec!["a".to_owned()])
    );
}

#[test]
fn of_two_uploads_at_once_each_is_whole_and_the_last_complete_one_wins() {
    let scene = Scene::new();
    let mut one = scene.begin("a", Start::Overwrite).unwrap();
    let mut other = scene.begin("a", Start::Overwrite).unwrap();
    for (first, second) in ["1", "11", "111"].iter().zip(["2", "22", "222"]) {
        one.write(first.as_bytes()).unwrap();
        other.write(second.as_bytes()).unwrap();
    }
    assert!(matches!(scene.begin("a", Start::End), Err(UploadError::Busy)));
    other.commit(|| Go::On).unwrap();
    assert_eq!(scene.read("a").unwrap(), "222222");
    one.commit(|| Go::On).unwrap();
    assert_eq!(
        (scene.read("a").unwrap().as_str(), scene.names()),
        ("111111", vec!["a".to_owned()])
    );
    let one = scene.upload("a", Start::Overwrite, "x");
    let other = scene.upload("a", Start::Overwrite, "yy");
    drop(one);
    drop(other);
    assert!(scene.names().iter().any(|name| name.starts_with(".poolftpd-over.")));
    assert_eq!(scene.names().len(), 3, "the partial, its record, and the file");
}

#[test]
fn an_upload_whose_directory_was_removed_is_not_said_to_be_superseded() {
    let scene = Scene::new();
    fs::create_dir(scene.directory.path().join("d")).unwrap();
    let upload = scene.upload("d/a", Start::Overwrite, "x");
    fs::remove_dir_all(scene.directory.path().join("d")).unwrap();
    let error = upload.commit(|| Go::On).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn who_resumes_supersedes_the_upload_whose_connection_was_lost() {
    let scene = Scene::new();
    let mut lost = scene.upload("a", Start::Overwrite, "0123456789");
    let mut resumed = scene.begin("a", Start::At(8)).unwrap();
    // Later data of the old connection does no harm.
    lost.write(b"garbage").unwrap();
    resumed.write(b"89").unwrap();
    assert_eq!(
        lost.commit(|| Go::On).unwrap_err().raw_os_error(),
        Some(Errno::BUSY.raw_os_error())
    );
    resumed.commit(|| Go::On).unwrap();
    assert_eq!(
        (scene.read("a").unwrap().as_str(), scene.names()),
        ("0123456789", vec!["a".to_owned()])
    );
}

#[test]
fn an_upload_that_ends_while_another_copies_from_it_loses_nothing() {
    let scene = Scene::new();
    let lost = scene.upload("a", Start::Overwrite, "0123456789");
    let resumed = Upload::begin(&scene.root, &path("a"), Start::At(8), TERMS).unwrap();
    assert!(resumed.needs_preparation());
    drop(lost);
    drop(resumed);
    assert_eq!((scene.kept("a"), scene.names().len()), (Some(10), 2));
}

#[test]
fn stou_finds_names_that_are_nobodys() {
    let scene = Scene::new();
    fs::write(scene.directory.path().join("scan.pdf"), "x").unwrap();
    let begin = |wanted: Option<&[u8]>| {
        Upload::begin_unique(&scene.root, &VirtualPath::root(), wanted, TERMS).unwrap()
    };
    let uploads = [begin(None), begin(None), begin(Some(b"scan.pdf")), begin(Some(b"scan.pdf"))];
    for (mut upload, _) in uploads {
        upload.write(b"u").unwrap();
        upload.commit(|| Go::On).unwrap();
    }
    assert_eq!(scene.names(), ["scan.1.pdf", "scan.2.pdf", "scan.pdf", "upload.1", "upload.2"]);
}

#[test]
fn an_overwritten_file_keeps_its_permissions_and_a_link_leads_on() {
    let scene = Scene::new();
    scene.complete("a", Start::Overwrite, "x");
    let real = scene.directory.path().join("a");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("a", scene.directory.path().join("link")).unwrap();
    scene.complete("link", Start::Overwrite, "y");
    assert_eq!(scene.read("a").unwrap(), "y");
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(scene.names(), ["a", "link"]);
}

#[test]
fn an_overwritten_file_keeps_its_extended_attributes() {
    let scene = Scene::new();
    scene.complete("a", Start::Overwrite, "x");
    let open = || File::options().read(true).open(scene.directory.path().join("a")).unwrap();
    if fsetxattr(open(), c"user.note", b"kept", XattrFlags::empty()).is_err() {
        // Not every temporary directory has extended attributes.
        return;
    }
    scene.complete("a", Start::Overwrite, "y");
    let mut value = [0; 16];
    assert_eq!(fgetxattr(open(), c"user.note", &mut value), Ok(4));
    assert_eq!((&value[..4], scene.read("a").unwrap().as_str()), (b"kept".as_slice(), "y"));
}

#[test]
fn no_client_can_name_what_is_ours_and_what_is_kept_goes_with_its_file() {
    let scene = Scene::new();
    scene.cut_off("a", Start::Overwrite, "kept");
    let ours = path(".poolftpd-part.a");
    assert!(scene.root.read(&ours).is_err() && scene.root.remove(&ours).is_err());
    assert!(scene.root.look(&ours).is_err() && scene.root.set_mode(&ours, 0o700).is_err());
    assert!(scene.root.set_modified(&ours, Timestamp::UNIX_EPOCH).is_err());
    assert!(scene.root.make_directory(&path(".poolftpd-x")).is_err());
    assert!(scene.root.rename(&ours, &path("b")).is_err());
    scene.root.remove(&path("a")).unwrap();
    assert!(scene.root.remove(&path("a")).is_err() && scene.names().is_empty());
    fs::create_dir(scene.directory.path().join("d")).unwrap();
    scene.cut_off("d/a", Start::Overwrite, "kept");
    scene.root.remove_directory(&path("d")).unwrap();
    assert!(scene.names().is_empty());
    scene.complete("a", Start::Overwrite, "whole");
    scene.cut_off("b", Start::Overwrite, "kept");
    scene.root.rename(&path("a"), &path("b")).unwrap();
    assert_eq!(scene.names(), ["b"]);
}

#[test]
fn what_is_old_is_swept_unless_somebody_writes_it() {
    let scene = Scene::new();
    fs::create_dir(scene.directory.path().join("d")).unwrap();
    scene.cut_off("old", Start::Overwrite, "x");
    scene.age(".poolftpd-part.old");
    scene.cut_off("d/old", Start::Overwrite, "x");
    scene.age("d/.poolftpd-part.old");
    scene.cut_off("new", Start::Overwrite, "x");
    let busy = scene.upload("busy", Start::Overwrite, "x");
    scene.age(".poolftpd-part.busy");
    let before = Timestamp::now() - Duration::from_mins(30);
    assert_eq!(scene.root.sweep(before, || true).unwrap().removed, 2);
    drop(busy);
    let parts = |name: &String| !name.starts_with(".poolftpd-kept.");
    let names: Vec<String> = scene.names().into_iter().filter(parts).collect();
    assert_eq!(names, [".poolftpd-part.busy", ".poolftpd-part.new", "d"]);
}

#[test]
fn an_interrupted_overwrite_is_in_the_way_of_its_own_client_alone() {
    let scene = Scene::new();
    scene.complete("log", Start::Overwrite, "old");
    scene.cut_off("log", Start::Overwrite, "new ve");
    assert!(matches!(scene.begin("log", Start::End), Err(UploadError::Interrupted)));
    assert!(scene.is_being_replaced("log") && !scene.root.is_being_replaced(&path("log"), OTHER));
    let mut append = scene.begin_as(OTHER, "log", Start::At(3)).unwrap();
    append.write(b"er").unwrap();
    append.commit(|| Go::On).unwrap();
    assert_eq!(scene.read("log").unwrap(), "older");
    let mut append = scene.begin_as(OTHER, "log", Start::End).unwrap();
    append.write(b"!").unwrap();
    append.commit(|| Go::On).unwrap();
    // The file has changed, so the partial that was to replace it is void.
    assert_eq!(scene.read("log").unwrap(), "older!");
    assert!(scene.begin("log", Start::End).is_ok());
}

/// A complete file, beside which another client's overwrite was cut off (`false`) or runs (`true`).
fn beside_an_overwrite_of_another(runs: bool) -> (Scene, Option<Upload>) {
    let scene = Scene::new();
    scene.complete("a", Start::Overwrite, "0123456789");
    let mut upload = scene.begin_as(OTHER, "a", Start::Overwrite).unwrap();
    upload.write(b"xxxxxxxxxxxxxxxxxxxx").unwrap();
    let running = if runs { Some(upload) } else { None };
    (scene, running)
}

#[test]
fn a_client_resumes_the_complete_file_and_not_the_partial_of_another() {
    for runs in [false, true] {
        for offset in [3, 10] {
            let (scene, _running) = beside_an_overwrite_of_another(runs);
            assert!(!scene.is_being_replaced("a"));
            let rest = &"0123456789ABC"[usize::try_from(offset).unwrap()..];
            scene.complete("a", Start::At(offset), rest);
            assert_eq!(scene.read("a").unwrap(), "0123456789ABC", "{runs} {offset}");
        }
        let (scene, _running) = beside_an_overwrite_of_another(runs);
        assert!(matches!(scene.begin("a", Start::At(15)), Err(UploadError::BeyondEnd)));
    }
}

#[test]
fn an_overwrite_that_has_just_begun_is_in_the_way_of_its_own_client_alone() {
    let (scene, running) = beside_an_overwrite_of_another(true);
    assert!(scene.root.is_being_replaced(&path("a"), OTHER));
    for start in [Start::End, Start::At(10)] {
        assert!(matches!(scene.begin_as(OTHER, "a", start), Err(UploadError::Interrupted)));
    }
    assert!(!scene.is_being_replaced("a"));
    scene.complete("a", Start::End, "ABC");
    assert_eq!(scene.read("a").unwrap(), "0123456789ABC");
    assert!(running.unwrap().commit(|| Go::On).is_ok());
    assert_eq!(scene.read("a").unwrap(), "xxxxxxxxxxxxxxxxxxxx");
}

#[test]
fn a_partial_without_a_record_is_in_the_way_of_nobody() {
    for start in [Start::End, Start::At(10)] {
        let (scene, _) = beside_an_overwrite_of_another(false);
        let record = scene.names().into_iter().find(|name| name.contains("kept")).unwrap();
        fs::remove_file(scene.directory.path().join(record)).unwrap();
        assert!(!scene.root.is_being_replaced(&path("a"), OTHER));
        let mut upload = scene.begin_as(OTHER, "a", start).unwrap();
        upload.write(b"ABC").unwrap();
        upload.commit(|| Go::On).unwrap();
        assert_eq!(scene.read("a").unwrap(), "0123456789ABC");
    }
}

#[test]
fn of_two_that_append_at_once_both_are_appended() {
    let scene = Scene::new();
    scene.complete("log", Start::Overwrite, "0");
    let (one, other) =
        (scene.upload("log", Start::End, "11"), scene.upload("log", Start::End, "2"));
    if one.role == Role::Copy {
        // If blocks are shared, each append has its own copy, and the last one wins.
        return;
    }
    let other = match other.commit(|| Go::Ask).unwrap() {
        Committed::Asked(upload) => upload,
        committed => panic!("{committed:?}"),
    };
    one.commit(|| Go::On).unwrap();
    other.commit(|| Go::On).unwrap();
    assert_eq!((scene.read("log").unwrap().as_str(), scene.names().len()), ("0112", 1));
}

#[test]
fn who_replaces_the_end_of_a_file_that_has_changed_is_told() {
    let scene = Scene::new();
    scene.complete("a", Start::Overwrite, "0123456789");
    let late = scene.upload("a", Start::At(4), "late");
    if late.role == Role::Copy {
        return;
    }
    scene.complete("a", Start::End, "!");
    let error = late.commit(|| Go::On).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::BUSY.raw_os_error()));
    assert_eq!((scene.read("a").unwrap().as_str(), scene.names().len()), ("0123456789!", 1));
}

#[test]
fn appending_costs_what_is_appended() {
    let scene = Scene::new();
    let size = 1 << 40;
    fs::write(scene.directory.path().join("log"), "").unwrap();
    let log = File::options().write(true).open(scene.directory.path().join("log")).unwrap();
    log.set_len(size).unwrap();
    let inode = fs::metadata(scene.directory.path().join("log")).unwrap().ino();
    scene.complete("log", Start::End, "a line");
    let found = fs::metadata(scene.directory.path().join("log")).unwrap();
    assert_eq!(found.len(), size + 6);
    // The file itself, or shared blocks; never a second copy.
    assert!(found.blocks() * 512 < 10_000_000 && scene.names().len() == 1);
    let _is_in_place = found.ino() == inode;
}

#[test]
fn a_copy_that_supersedes_can_be_cancelled_and_leaves_nothing() {
    let scene = Scene::new();
    let lost = scene.upload("a", Start::Overwrite, "0123456789");
    let resumed = Upload::begin(&scene.root, &path("a"), Start::At(8), TERMS).unwrap();
    drop(resumed.cancel_on_drop());
    let prepared = resumed.prepare();
    assert!(prepared.is_ok() || prepared.unwrap_err().kind() == io::ErrorKind::Interrupted);
    drop(lost);
    assert_eq!(scene.names().iter().filter(|name| name.contains("-up.")).count(), 0);
}

/// Returns the events of a directory as its watcher sees them: the kind of each event, and the name.
fn events(watcher: &std::os::fd::OwnedFd) -> Vec<(inotify::ReadFlags, String)> {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 8192];
    let mut reader = inotify::Reader::new(watcher, &mut buffer);
    let mut found = Vec::new();
    while let Ok(event) = reader.next() {
        let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
        found.push((event.events(), name.unwrap_or_default()));
    }
    found
}

#[test]
fn a_sweep_does_not_open_a_partial_that_is_new() {
    let scene = Scene::new();
    scene.cut_off("new", Start::Overwrite, "x");
    let watcher = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watcher, scene.directory.path(), inotify::WatchFlags::OPEN).unwrap();
    scene.root.sweep(Timestamp::now() - Duration::from_mins(30), || true).unwrap();
    // Its lock would make SIZE count bytes that may not have reached the disk, and an upload that resumes it copy it.
    let opened = events(&watcher).into_iter().map(|(_, name)| name);
    assert_eq!(opened.filter(|name| !name.is_empty()).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_watcher_of_the_directory_sees_each_stored_file_once_and_no_close_of_the_old_one() {
    let scene = Scene::new();
    fs::write(scene.directory.path().join("a"), "old").unwrap();
    let watcher = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watcher, scene.directory.path(), inotify::WatchFlags::ALL_EVENTS).unwrap();
    for _ in 0..2 {
        let mut upload = scene.begin("a", Start::Overwrite).unwrap();
        upload.write(b"new").unwrap();
        assert!(events(&watcher).iter().all(|(_, name)| name != "a"), "it is not touched");
        upload.commit(|| Go::On).unwrap();
        let seen = events(&watcher);
        let moved =
            |event: &&(inotify::ReadFlags, String)| event.0.contains(inotify::ReadFlags::MOVED_TO);
        let names: Vec<&str> = seen.iter().filter(moved).map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["a"], "{seen:?}");
        let closed = inotify::ReadFlags::CLOSE_WRITE;
        assert_eq!(
            seen.iter().filter(|event| event.0.contains(closed) && event.1 == "a").count(),
            1
        );
    }
}
