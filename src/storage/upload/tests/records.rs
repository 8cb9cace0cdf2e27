//! Tests of the records of what was flushed of a partial.

use super::*;

/// Opens the partial of a name for writing.
fn open_part(scene: &Scene, name: &str) -> File {
    let path = scene.directory.path().join(format!(".poolftpd-part.{name}"));
    File::options().read(true).write(true).open(path).unwrap()
}

#[test]
fn of_a_partial_only_what_reached_the_disk_counts() {
    let scene = Scene::new();
    scene.cut_off("a", Start::Overwrite, "0123456789");
    // After a power failure, the disk may have the size but not the bytes.
    open_part(&scene, "a").set_len(20).unwrap();
    assert_eq!(scene.kept("a"), Some(10));
    assert!(matches!(scene.begin("a", Start::At(11)), Err(UploadError::BeyondEnd)));
    scene.cut_off("a", Start::End, "ab");
    assert_eq!(scene.kept("a"), Some(12));
    open_part(&scene, "a").set_len(5).unwrap();
    assert_eq!(scene.kept("a"), Some(5));
    scene.complete("a", Start::At(5), "!");
    assert_eq!((scene.read("a").unwrap().as_str(), scene.names().len()), ("01234!", 1));
}

#[test]
fn of_a_partial_without_a_record_nothing_counts() {
    let scene = Scene::new();
    scene.cut_off("a", Start::Overwrite, "0123456789");
    let record = scene.names().into_iter().find(|name| name.contains("kept")).unwrap();
    fs::remove_file(scene.directory.path().join(record)).unwrap();
    assert_eq!(scene.kept("a"), None);
    assert!(matches!(scene.begin("a", Start::At(1)), Err(UploadError::BeyondEnd)));
    scene.complete("a", Start::Overwrite, "new");
    assert_eq!(scene.names(), ["a"]);
}

#[test]
fn a_flush_records_what_it_flushed_and_no_more() {
    let scene = Scene::new();
    let mut upload = scene.upload("a", Start::Overwrite, "01234");
    let flush = upload.flush().unwrap();
    upload.write(b"56789").unwrap();
    flush.run().unwrap();
    // While an upload writes it, all of it counts, because an upload that resumes it copies the bytes.
    assert_eq!(scene.kept("a"), Some(10));
    // The server dies: its lock is gone, and unflushed bytes may be lost.
    flock(&upload.file, FlockOperation::Unlock).unwrap();
    assert_eq!(scene.kept("a"), Some(5));
    let _dead = ManuallyDrop::new(upload);
    scene.complete("a", Start::At(5), "89");
    assert_eq!(scene.read("a").unwrap(), "0123489");
}

#[test]
fn after_a_failed_flush_what_came_since_the_last_one_does_not_count() {
    let scene = Scene::new();
    let mut upload = scene.upload("a", Start::Overwrite, "01234");
    upload.flush().unwrap().run().unwrap();
    upload.write(b"56789").unwrap();
    upload.flush_failed.store(true, Ordering::Release);
    assert_eq!(upload.settle(), 5);
    assert_eq!(scene.kept("a"), Some(5));
}

#[test]
fn bytes_that_are_written_again_do_not_count_until_they_are_flushed_again() {
    let scene = Scene::new();
    scene.cut_off("a", Start::Overwrite, "0123456789");
    let mut resumed = scene.begin("a", Start::At(3)).unwrap();
    resumed.write(b"xxxxxxxxxxxxx").unwrap();
    flock(&resumed.file, FlockOperation::Unlock).unwrap();
    let _dead = ManuallyDrop::new(resumed);
    assert_eq!(scene.kept("a"), Some(3));
}
