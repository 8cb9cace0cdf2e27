//! The Debian package.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{REVISION, Result, VERSION, compressed, emptied, output, stage};
use crate::{root, run};

/// Builds a package with all files, and the scripts of `dist/debian`.
pub(super) fn build(programs: &Path, out: &Path) -> Result<PathBuf> {
    let folder = emptied(out, "deb")?;
    stage(programs, &folder)?;
    let source = root().join("dist/debian");
    let documents = folder.join("usr/share/doc/poolftpd");
    fs::copy(source.join("copyright"), documents.join("copyright"))?;
    let overrides = folder.join("usr/share/lintian/overrides");
    fs::create_dir_all(&overrides)?;
    fs::copy(source.join("overrides"), overrides.join("poolftpd"))?;
    fs::write(documents.join("changelog.Debian.gz"), debian_changelog(out)?)?;
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let version = format!("{VERSION}-{REVISION}");
    let size = kibibytes(&folder)?.to_string();
    let control = fs::read_to_string(source.join("control"))?
        .replace("@VERSION@", &version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", &size);
    let about = folder.join("DEBIAN");
    fs::create_dir(&about)?;
    fs::write(about.join("control"), control)?;
    fs::write(about.join("conffiles"), listed(&folder, "etc")?)?;
    fs::write(about.join("md5sums"), sums(&folder)?)?;
    for script in ["postinst", "prerm", "postrm"] {
        fs::copy(source.join(script), about.join(script))?;
        fs::set_permissions(about.join(script), Permissions::from_mode(0o755))?;
    }
    let package = out.join(format!("poolftpd_{version}_{architecture}.deb"));
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .arg(&folder)
        .arg(&package)
        .stdout(Stdio::null()))?;
    Ok(package)
}

fn debian_changelog(out: &Path) -> Result<Vec<u8>> {
    let date =
        output(Command::new("date").args(["-R", "-u", "-r"]).arg(root().join("Cargo.toml")))?;
    let path = out.join("changelog");
    let text = format!(
        "poolftpd ({VERSION}-{REVISION}) unstable; urgency=medium\n\n  * New version: see CHANGELOG.md of the source.\n\n -- The poolftpd project <maintainers@poolftpd.invalid>  {}\n",
        date.trim()
    );
    fs::write(&path, text)?;
    let found = compressed(&path)?;
    fs::remove_file(path)?;
    Ok(found)
}

/// Returns the paths of all files below a part of a staged tree, each with a leading slash.
fn listed(folder: &Path, part: &str) -> Result<String> {
    let found = output(Command::new("find").arg(part).args(["-type", "f"]).current_dir(folder))?;
    let lines: BTreeSet<String> = found.lines().map(|line| format!("/{line}\n")).collect();
    Ok(lines.into_iter().collect())
}

fn sums(folder: &Path) -> Result<String> {
    let mut found = String::new();
    for line in listed(folder, "usr")?.lines() {
        found +=
            &output(Command::new("md5sum").arg(line.trim_start_matches('/')).current_dir(folder))?;
    }
    Ok(found)
}

fn kibibytes(folder: &Path) -> Result<u64> {
    let found = output(Command::new("du").args(["-sk", "--apparent-size"]).arg(folder))?;
    Ok(found.split_whitespace().next().unwrap_or_default().parse()?)
}
