//! The packages: each is built of the programs under test, and installed in a root without anything else.

use std::env::consts::ARCH;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::noise;
use crate::common::outside::{can_mount, find, is_root, run_script, skip};
use tempfile::TempDir;

/// Builds a package of this kind. Returns `None`, and reports a skip, where it cannot be built or installed.
fn built(kind: &str, programs: &Path, folder: &Path, needed: &[&str]) -> Option<PathBuf> {
    if !is_root() {
        skip("only root can install packages");
        return None;
    }
    for program in needed {
        if find(program).is_none() {
            skip(&format!("{program} is not installed"));
            return None;
        }
    }
    // Nothing is sent over a network, so a fast build is worth more than a small file.
    fs::write(folder.join(".rpmmacros"), "%_binary_payload w1.gzdio\n").unwrap();
    // Images of the test are in no storage of the machine.
    let (images, running) = (folder.join("storage"), folder.join("running"));
    let storage = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        images.display(),
        running.display()
    );
    fs::write(folder.join("storage.conf"), storage).unwrap();
    let done = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "xtask", "--", "package", kind, "--programs"])
        .arg(programs)
        .arg("--out")
        .arg(folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs([("DPKG_DEB_COMPRESSOR_TYPE", "gzip"), ("DPKG_DEB_COMPRESSOR_LEVEL", "1")])
        .env("CONTAINERS_STORAGE_CONF", folder.join("storage.conf"))
        .envs((kind == "rpm").then_some(("HOME", folder)))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(PathBuf::from(String::from_utf8(done.stdout).unwrap().trim()))
}

/// The directory of the programs under test.
fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ftpserver")).parent().unwrap()
}

/// A directory that dpkg takes for the root of a system.
struct System(TempDir);

impl System {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "srv", "var/log"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("var/lib/dpkg/status"), "").unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn dpkg(&self, words: &[&str]) {
        let done = Command::new("dpkg")
            .arg(format!("--root={}", self.0.path().display()))
            .args(["--force-script-chrootless", "--force-depends", "--log=/dev/null"])
            .args(words)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "dpkg {words:?}: {text}");
    }
}

#[test]
fn the_debian_package_is_installed_in_a_clean_root_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let needed = ["dpkg-deb", "dpkg", "strip", "systemd-sysusers", "systemd-tmpfiles"];
    let Some(package) = built("deb", programs(), folder.path(), &needed) else { return };
    check_by_lintian(&package);
    let system = System::new();
    system.dpkg(&["--install", package.to_str().unwrap()]);
    for name in [
        "usr/bin/ftpserver",
        "usr/bin/ftpclient",
        "usr/bin/ftppasswd",
        "usr/share/man/man8/ftpserver.8.gz",
        "usr/share/man/man5/poolftpd-users.5.gz",
        "usr/share/doc/poolftpd/copyright",
        "usr/share/doc/poolftpd/administration.md",
        "usr/lib/systemd/system/poolftpd.service",
        "usr/lib/systemd/system/poolftpd.socket",
        "usr/lib/sysctl.d/50-poolftpd.conf",
        "etc/poolftpd/poolftpd.toml",
        "etc/logrotate.d/poolftpd",
        "etc/fail2ban/filter.d/poolftpd.conf",
    ] {
        assert!(system.path(name).is_file(), "{name} is not installed");
    }
    assert_eq!(system.path("usr/bin/ftpserver").metadata().unwrap().mode() & 0o7777, 0o755);
    let passwd = fs::read_to_string(system.path("etc/passwd")).unwrap();
    assert!(passwd.contains("poolftpd:"), "{passwd}");
    let group = fs::read_to_string(system.path("etc/group")).unwrap();
    let admins = group.lines().find(|line| line.starts_with("poolftpd-admin:")).unwrap();
    assert!(admins.ends_with(":poolftpd"), "the server may give the socket to the group: {group}");
    let users = system.path("etc/poolftpd/users").metadata().unwrap();
    assert_eq!(users.mode() & 0o777, 0o640, "root writes the users file, the server reads it");
    let served = system.path("srv/ftp").metadata().unwrap();
    assert!(served.uid() != 0, "the server owns the directory that it serves");
    verify_units(&system);
    check_configuration(&system);

    let settings = system.path("etc/poolftpd/poolftpd.toml");
    let own = fs::read_to_string(&settings).unwrap() + "max-clients = 7\n";
    fs::write(&settings, &own).unwrap();
    let newer = newer(&package, folder.path());
    system.dpkg(&["--force-confold", "--install", newer.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&settings).unwrap(), own, "an update keeps own settings");
    let offered = fs::read_to_string(system.path("etc/poolftpd/poolftpd.toml.dpkg-dist")).unwrap();
    assert!(offered.contains("# New in this version."), "the new file is beside it");
    fs::write(system.path("srv/ftp/report"), noise(100)).unwrap();
    system.dpkg(&["--remove", "poolftpd"]);
    assert!(!system.path("usr/bin/ftpserver").exists());
    assert!(system.path("etc/poolftpd/poolftpd.toml").exists(), "a removal keeps the settings");
    system.dpkg(&["--purge", "poolftpd"]);
    assert!(!system.path("etc/poolftpd").exists(), "a purge removes the settings");
    assert!(system.path("srv/ftp/report").exists(), "served files stay");
}

/// Makes a package of a later version, with another configuration file.
fn newer(package: &Path, folder: &Path) -> PathBuf {
    let unpacked = folder.join("newer");
    let run = |words: &[&str]| {
        assert!(
            Command::new("dpkg-deb").args(words).output().unwrap().status.success(),
            "{words:?}"
        );
    };
    run(&["--raw-extract", package.to_str().unwrap(), unpacked.to_str().unwrap()]);
    let change = |name: &str, change: &dyn Fn(String) -> String| {
        let path = unpacked.join(name);
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    };
    change("DEBIAN/control", &|text| text.replace("Version: 0", "Version: 9"));
    change("etc/poolftpd/poolftpd.toml", &|text| text + "# New in this version.\n");
    let newer = folder.join("newer.deb");
    run(&["--build", "--root-owner-group", unpacked.to_str().unwrap(), newer.to_str().unwrap()]);
    newer
}

/// Checks the units as systemd does.
fn verify_units(system: &System) {
    if find("systemd-analyze").is_none() {
        return skip("in part: systemd-analyze is not installed");
    }
    // What ours name: the units of systemd itself, and a shell.
    fs::create_dir_all(system.path("bin")).unwrap();
    fs::copy("/bin/sh", system.path("bin/sh")).unwrap();
    let copied = Command::new("cp")
        .args(["-an", "/usr/lib/systemd/system/."])
        .arg(system.path("usr/lib/systemd/system"))
        .status();
    assert!(copied.unwrap().success());
    for unit in ["poolftpd.service", "poolftpd.socket", "ftpauth-pam.socket", "ftpauth-ldap.socket"]
    {
        let done = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(format!("--root={}", system.0.path().display()))
            .arg(unit)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        let ours: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("poolftpd") || line.contains("ftpauth"))
            .collect();
        assert!(ours.is_empty(), "{unit}: {text}");
    }
}

/// Checks the configuration file of the package with the paths of the system below it.
fn check_configuration(system: &System) {
    let file = system.path("etc/poolftpd/poolftpd.toml");
    let root = format!("\"{}/", system.0.path().display());
    fs::create_dir_all(system.path("var/lib/poolftpd")).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let moved = system.path("poolftpd.toml");
    // The group exists in the system only.
    let text = text.replace("\"/", &root).replace("poolftpd-admin\"", "root\"");
    fs::write(&moved, text).unwrap();
    let done = Command::new(system.path("usr/bin/ftpserver"))
        .args(["check", "--config"])
        .arg(&moved)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "ok\n");
}

/// Checks the package as Debian does.
fn check_by_lintian(package: &Path) {
    if find("lintian").is_none() {
        return skip("in part: lintian is not installed");
    }
    let done = Command::new("lintian").arg("--allow-root").arg(package).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(text.trim().is_empty() && done.status.success(), "{text}");
}

/// Makes a root with a shell and the two programs that the scripts of the package use, installs, updates and erases.
const RPM: &str = r#"
for folder in bin lib lib64 sbin; do mkdir -p root/usr/$folder; ln -s usr/$folder root/$folder; done
mkdir -p root/etc root/proc root/run root/var/log root/tmp root/var/lib
for name in sh systemd-sysusers systemd-tmpfiles; do
    program=$(command -v $name)
    cp -L "$program" root/usr/bin/
    for library in $(ldd "$program" | grep -o '/[^ ]*'); do
        mkdir -p "root/$(dirname "$library")"
        cp -nL "$library" "root/$library"
    done
done
mount -t proc none root/proc
of_root() { rpm --root "$PWD/root" "$@" 2>>errors; }
of_root --initdb
of_root -i --nodeps poolftpd-*.rpm
echo "verified: $(of_root -V --nodeps poolftpd)"
of_root -q --queryformat '[%{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEMODES:perms} %{FILENAMES}\n]' poolftpd
cat root/etc/passwd root/etc/group
stat -c '%U %a %n' root/etc/poolftpd root/etc/poolftpd/users root/srv/ftp
chroot root stat . 2>/dev/null || true
echo '# mine' >>root/etc/poolftpd/poolftpd.toml
of_root -U --nodeps --replacepkgs poolftpd-*.rpm
grep -q mine root/etc/poolftpd/poolftpd.toml || { echo "an update has replaced own settings"; exit 1; }
echo file >root/srv/ftp/served
of_root -e poolftpd
[ ! -e root/usr/bin/ftpserver ] && [ ! -e root/usr/share/doc/poolftpd ] || { echo "files stay"; exit 1; }
grep -q mine root/etc/poolftpd/poolftpd.toml.rpmsave || { echo "own settings are gone"; exit 1; }
[ -e root/srv/ftp/served ] || { echo "served files are gone"; exit 1; }
! grep -v -e 'RPM should not be used' -e 'However assuming' -e Creating -e rpmsave errors
"#;

#[test]
fn the_rpm_package_is_installed_in_an_empty_root_and_erased() {
    let folder = tempfile::tempdir().unwrap();
    if !can_mount() {
        return skip("needs the right to mount");
    }
    let needed = ["rpmbuild", "rpm", "strip", "systemd-sysusers", "systemd-tmpfiles", "ldd"];
    if built("rpm", programs(), folder.path(), &needed).is_none() {
        return;
    }
    fs::write(folder.path().join("script"), RPM).unwrap();
    let script = "unshare --mount --propagation private sh -eu script";
    let said = run_script(script, folder.path(), &[]).unwrap_or_else(|what| panic!("{what}"));
    assert!(said.contains("verified: \n"), "a file differs from the package: {said}");
    for line in [
        "root:root -rwxr-xr-x /usr/bin/ftpserver\n",
        "root:root -rw-r--r-- /usr/lib/systemd/system/poolftpd.socket\n",
        "root:root -rw-r--r-- /usr/share/man/man8/ftpserver.8.gz\n",
        "root:root -rw-r--r-- /usr/share/licenses/poolftpd/LICENSE-MIT\n",
        "root:root -rw-r--r-- /etc/poolftpd/poolftpd.toml\n",
        "poolftpd-admin:x:999:poolftpd\n",
    ] {
        assert!(said.contains(line), "no {line}: {said}");
    }
    let users = said.lines().find(|line| line.ends_with("root/etc/poolftpd/users"));
    assert_eq!(users, Some("root 640 root/etc/poolftpd/users"), "{said}");
    assert!(said.lines().any(|line| line.ends_with(" 755 root/srv/ftp")), "{said}");
}

/// Returns the directory of programs without a library of the system. They are current, because cargo builds them
/// again where it has built them before.
fn static_programs() -> Option<PathBuf> {
    let target = format!("{ARCH}-unknown-linux-musl");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target_dir =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| manifest.join("target"), PathBuf::from);
    let folder = target_dir.join(&target).join("debug");
    if !is_root() || !folder.join("ftpserver").exists() {
        skip(&format!("needs root, and cargo build --bins --target {target}"));
        return None;
    }
    let Output { status, stderr, .. } = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--bins", "--target", &target])
        .current_dir(manifest)
        .output()
        .unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    Some(folder)
}

/// Unpacks the archive as the root of a system, and transfers a file there and back.
const ARCHIVE: &str = r#"
mkdir root
tar -xzf poolftpd-*.tar.gz -C root --strip-components=1
for name in README.md LICENSE LICENSE-MIT LICENSE-APACHE Containerfile usr/share/man/man8/ftpserver.8.gz     usr/lib/systemd/system/poolftpd.service usr/share/bash-completion/completions/ftpclient etc/poolftpd/poolftpd.toml; do
    [ -s root/$name ] || { echo "no $name"; exit 1; }
done
mkdir -p root/srv/ftp root/home
head -c 3000000 /dev/urandom >root/srv/ftp/file
echo secret | chroot root /usr/bin/ftppasswd /users alice
mkfifo ready
chroot root /usr/bin/ftpserver --root /srv/ftp --users /users --bind 127.0.0.1 --port 0 --self-signed /own.pem --quiet >ready &
server=$!
trap 'kill $server' EXIT
read -r line <ready
port=${line##*:}
chroot root /usr/bin/ftpclient --insecure -u alice:secret -c 'lcd /home; get file; put file copy' 127.0.0.1 "$port"
cmp root/srv/ftp/file root/home/file
cmp root/srv/ftp/file root/srv/ftp/copy
chroot root /usr/bin/ftpserver ctl --port "$port" status
"#;

#[test]
fn the_static_archive_works_in_a_root_with_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let Some(programs) = static_programs() else { return };
    if built("tar", &programs, folder.path(), &["strip", "readelf", "tar"]).is_some() {
        let said = run_script(ARCHIVE, folder.path(), &[]).unwrap_or_else(|what| panic!("{what}"));
        assert!(said.contains("in master"), "{said}");
    }
}

/// Runs the image with a file system of control groups that crun takes.
const IMAGE: &str = r#"
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup || mount -t tmpfs none /sys/fs/cgroup
printf '[containers]\ndefault_ulimits = []\n' >containers.conf
export CONTAINERS_CONF=$PWD/containers.conf CONTAINERS_STORAGE_CONF=$PWD/storage.conf
run() { podman run --cgroups=disabled --ulimit host --network host --health-interval disable "$@"; }
podman load --quiet -i poolftpd-*-image-*.tar
run --rm poolftpd:0.1.0 --version 2>errors || { echo none; cat errors; exit 0; }
run --detach --name "$name" -v "$name:/srv/ftp" poolftpd:0.1.0 --bind 127.0.0.1 --port "$port" --write
trap 'podman rm -f "$name"; podman volume rm -f "$name"' EXIT
until curl -s "ftp://127.0.0.1:$port/" >/dev/null; do podman inspect "$name" >/dev/null; done
curl -sS -T containers.conf "ftp://127.0.0.1:$port/stored"
curl -sS "ftp://127.0.0.1:$port/stored" | cmp - containers.conf
podman exec "$name" /usr/bin/ftpserver ctl --port "$port" status
grep CapEff "/proc/$(podman inspect "$name" --format '{{.State.Pid}}')/status"
podman stop "$name"
echo "exit $(podman wait "$name")"
"#;

#[test]
fn the_image_of_a_container_is_built_without_a_registry_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    if !can_mount() {
        return skip("needs the right to mount");
    }
    let Some(programs) = static_programs() else { return };
    let needed = ["podman", "crun", "curl"];
    if built("image", &programs, folder.path(), &needed).is_none() {
        return;
    }
    fs::write(folder.path().join("script"), IMAGE).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let name = format!("poolftpd-test-{}", std::process::id());
    let script = "unshare --mount --propagation private sh -eu script";
    let said = run_script(script, folder.path(), &[("port", &port), ("name", &name)]);
    let said = said.unwrap_or_else(|what| panic!("{what}"));
    if said.contains("none\n") {
        return skip(&format!("in part: no container can run here: {said}"));
    }
    assert!(said.contains("in master") && said.contains("exit 0"), "{said}");
    assert!(said.contains("CapEff:\t0000000000000000"), "{said}");
}
