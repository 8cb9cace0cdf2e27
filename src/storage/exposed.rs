//! Files that no client may ever download: keys and users files. No served directory may have one beneath it.

use std::path::{Path, PathBuf};

/// Files that only the administrator may read.
#[derive(Debug, Default)]
pub struct Secrets(Vec<Secret>);

#[derive(Debug)]
struct Secret {
    /// The kind of the file, for messages: `the key`, `the users file`.
    kind: &'static str,
    path: PathBuf,
    /// The canonical paths of the file itself and, if it is a link, of its target.
    places: Vec<PathBuf>,
}

impl Secrets {
    /// Creates the list from files, each with its kind as the beginning of a sentence: `the key`.
    #[must_use]
    pub fn new(files: impl IntoIterator<Item = (&'static str, PathBuf)>) -> Self {
        let secret = |(kind, path): (_, PathBuf)| Secret { kind, places: whereabouts(&path), path };
        Self(files.into_iter().map(secret).collect())
    }

    /// Checks that none of the files is beneath a directory that is to be served.
    ///
    /// # Errors
    /// One sentence that names the file and the directory.
    pub fn check(&self, kind: &str, place: &Path) -> Result<(), String> {
        let real = place.canonicalize().unwrap_or_else(|_| place.to_owned());
        let is_beneath =
            |secret: &&Secret| secret.places.iter().any(|path| path.starts_with(&real));
        self.0.iter().find(is_beneath).map_or(Ok(()), |found| {
            Err(format!(
                "{} {} is inside {kind} {}, where clients could download it; move it elsewhere",
                found.kind,
                found.path.display(),
                place.display()
            ))
        })
    }
}

/// Returns the real paths of a file: its own and, if it is a link, that of its target.
#[must_use]
pub fn whereabouts(path: &Path) -> Vec<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or_else(|| Path::new(".")).canonicalize();
    let own = folder.ok().zip(path.file_name()).map(|(folder, name)| folder.join(name));
    own.into_iter().chain(path.canonicalize()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_secret_beneath_a_place_is_found_by_every_way_that_leads_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["srv/sub", "etc", "srv2"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in ["srv/sub/key", "etc/key"] {
            fs::write(path(name), "x").unwrap();
        }
        symlink(path("srv"), path("link")).unwrap();
        symlink(path("srv/sub/key"), path("etc/link-in")).unwrap();
        symlink(path("etc/key"), path("srv/link-out")).unwrap();
        let check = |file: &str, place: &str| {
            Secrets::new([("the key", path(file))]).check("the root", &path(place))
        };
        for (file, place) in [
            ("srv/sub/key", "srv"),
            ("srv/sub/key", "link"),
            ("link/sub/key", "srv"),
            ("etc/link-in", "srv"),
            ("srv/link-out", "srv"),
            ("srv/not-made-yet", "srv"),
            ("etc/../srv/sub/key", "srv/sub"),
        ] {
            let error = check(file, place).unwrap_err();
            let both = [path(file), path(place)].map(|path| path.display().to_string());
            assert!(both.iter().all(|path| error.contains(path)), "{error}");
        }
        for (file, place) in [("etc/key", "srv"), ("srv/sub/key", "srv2"), ("srv2", "srv")] {
            assert_eq!(check(file, place), Ok(()), "{file} {place}");
        }
    }
}
