#!/usr/bin/env bash
# The Debian package on a new Debian under systemd: does an administrator get what the pages promise?
# A good answer: the service runs without a capability; a file that curl stores over TLS is seen in ctl who, on the page, in the
# metrics and in the audit log; a renewed certificate is served; a reload with a mistake changes nothing; a removal keeps the files.
# Needs root, debootstrap and its mirror, systemd-nspawn and chromium. Usage: stress/installed.sh [DIR]: where the Debian is kept for
# the next run, and the screenshot; by default nowhere.
. "$(dirname "$0")/lib.sh"
for program in debootstrap systemd-nspawn nsenter ip chromium dpkg-deb; do
    command -v $program >/dev/null || { echo "SKIP installed: $program is not installed"; exit 0; }
done
[ "$(id -u)" = 0 ] || { echo "SKIP installed: needs root"; exit 0; }
kept=${1:-$work}
machine=$work/machine space=installed-$$ manager=
end_machine() {
    [ -z "$manager" ] || kill -TERM "$manager" 2>/dev/null || true
    [ -z "$manager" ] || wait "$manager" 2>/dev/null || true
    ip netns del "$space" 2>/dev/null || true
    finish
}
trap end_machine EXIT INT TERM
failed() { echo "FAIL installed: $*"; exit 1; }

if [ ! -e "$kept/debian/etc/debian_version" ]; then
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,curl,openssl,procps "$(. /etc/os-release && echo "$VERSION_CODENAME")" \
        "$kept/debian" >"$work/debootstrap.log" 2>&1 || { echo "SKIP installed: debootstrap: $(tail -n 1 "$work/debootstrap.log")"; exit 0; }
fi
cp -a "$kept/debian/." "$machine"
package=$(cd "$here" && cargo xtask package deb --programs "$programs" --out "$work/package")
cp "$package" "$machine/root/poolftpd.deb"

# A network of its own, in which the browser runs, too.
ip netns add "$space"
ip -n "$space" link set lo up
systemd-nspawn --quiet --register=no --keep-unit --network-namespace-path="/run/netns/$space" -D "$machine" --boot --console=read-only \
    >"$work/console" 2>&1 </dev/null &
manager=$!
leader=
for _ in $(seq 600); do
    leader=$(cat /proc/$manager/task/$manager/children 2>/dev/null | tr -d ' ')
    [ -n "$leader" ] && nsenter -t "$leader" -a systemctl is-system-running 2>/dev/null | grep -q -e running -e degraded && break
    kill -0 $manager 2>/dev/null || { echo "SKIP installed: no machine can run here: $(tail -n 1 "$work/console")"; exit 0; }
    sleep 0.1
done
inside() { nsenter -t "$leader" -a env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }
within() { inside bash -eu -c "$1"; }

# Installed: systemd runs the service, without root and without a capability.
within 'cd /root; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq ./poolftpd.deb' >"$work/apt" 2>&1 || failed "apt: $(tail -n 3 "$work/apt")"
within 'systemctl enable --now poolftpd.socket poolftpd.service' 2>/dev/null || failed "the service does not start: $(inside journalctl -u poolftpd -n 5)"
pid=$(inside systemctl show --value -p MainPID poolftpd)
inside grep -q '^CapEff:	0*$' "/proc/$pid/status" || failed "the server has capabilities"
[ "$(inside stat -c %U "/proc/$pid")" = poolftpd ] || failed "the server has another user"

# A user, the status page and an audit log.
within 'echo secret | ftppasswd /etc/poolftpd/users alice
    sed -i "/^users/a status = \"9121\"\nstatus-paths = true\nlog-also = [\"/var/log/poolftpd/audit.json,format=json,events=audit\"]" \
        /etc/poolftpd/poolftpd.toml
    ftpserver check --config /etc/poolftpd/poolftpd.toml
    systemctl restart poolftpd
    head -c 6000000 /dev/urandom >/root/file' >/dev/null || failed "the settings"

# A file is stored over TLS, slowly enough to be seen.
inside curl -sS -k --ssl-reqd --limit-rate 300K -u alice:secret -T /root/file ftp://localhost/ &
upload=$!
for _ in $(seq 300); do
    inside ftpserver ctl who --json 2>/dev/null | grep -q /file && break
    sleep 0.1
done
inside ftpserver ctl who | grep alice | grep -q file || failed "ctl who does not show the upload: $(inside ftpserver ctl who)"
page() { ip netns exec "$space" timeout 60 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$work/browser" --timeout=5000 "$@" \
    http://127.0.0.1:9121/ 2>>"$work/browser.log"; }
page --dump-dom >"$work/page.html" || true
grep -q alice "$work/page.html" || failed "the page does not show the session: $(wc -c "$work/page.html") $(tail -n 3 "$work/browser.log")"
page --window-size=1100,800 --screenshot="$kept/page.png" || true
[ -s "$kept/page.png" ] || failed "no screenshot"
wait $upload || failed "curl: $?"
inside cmp /root/file /srv/ftp/file || failed "the file differs"
inside curl -s http://127.0.0.1:9121/metrics | grep -q '^poolftpd_transfers_total{.*direction="upload",outcome="[a-z-]*complete"} 1$' ||
    failed "the metrics: $(inside curl -s http://127.0.0.1:9121/metrics | grep ^poolftpd_transfers_total)"
inside grep -q '"user":"alice".*"path":"/file"' /var/log/poolftpd/audit.json || failed "the audit log: $(inside tail -n 2 /var/log/poolftpd/audit.json)"
inside journalctl -u poolftpd FTP_EVENT=transfer FTP_USER=alice | grep -q /file || failed "the journal"

# A certificate that certbot renews: the hook of docs/administration.md copies it, and it is served.
sed -n '/^#!\/bin\/sh$/,/^```$/{/^```$/!p}' "$here/docs/administration.md" >"$machine/root/hook"
issue() {
    within "mkdir -p /root/lineage && cd /root/lineage && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj /CN=$1 -keyout privkey.pem -out fullchain.pem 2>/dev/null && RENEWED_LINEAGE=/root/lineage sh /root/hook"
}
served() { within 'openssl s_client -starttls ftp -connect 127.0.0.1:21 </dev/null 2>/dev/null | openssl x509 -noout -subject'; }
issue first.example || failed "the hook: $(inside journalctl -u poolftpd -n 8 -o cat)"
within 'sed -i "/^self-signed/d" /etc/poolftpd/poolftpd.toml
    printf "\n[[tls]]\ncert = \"/etc/poolftpd/fullchain.pem\"\nkey = \"/etc/poolftpd/privkey.pem\"\n" >>/etc/poolftpd/poolftpd.toml
    systemctl restart poolftpd'
served | grep -q first.example || failed "the certificate: $(served)"
issue second.example || failed "the hook: $(inside journalctl -u poolftpd -n 8 -o cat)"
served | grep -q second.example || failed "the renewed certificate is not served: $(served)"

# A mistake: the reload fails, and everything is as before.
pid=$(inside systemctl show --value -p MainPID poolftpd)
within 'cp /etc/poolftpd/poolftpd.toml /root/right; sed -i "1i max-clints = 3" /etc/poolftpd/poolftpd.toml'
! inside systemctl reload poolftpd 2>/dev/null || failed "a reload with a mistake succeeds"
! inside ftpserver ctl reload >"$work/reload" 2>&1 || failed "ctl reload with a mistake succeeds"
grep -q max-clients "$work/reload" || failed "ctl reload does not name the setting: $(cat "$work/reload")"
[ "$(inside systemctl show --value -p MainPID poolftpd)" = "$pid" ] || failed "the server was replaced"
inside curl -sS -k --ssl-reqd -u alice:secret ftp://localhost/file | inside cmp - /root/file || failed "no login after the mistake"
within 'cp /root/right /etc/poolftpd/poolftpd.toml; systemctl reload poolftpd' || failed "the reload after the mistake"

within 'dpkg --purge poolftpd' >/dev/null 2>&1 || failed "dpkg --purge"
inside test -e /srv/ftp/file -a ! -e /etc/poolftpd/poolftpd.toml -a ! -e /etc/poolftpd/users -a ! -e /usr/bin/ftpserver || failed "the removal"
echo "PASS installed: the service runs without rights, an upload is seen in who, page, metrics and logs, certificates are renewed, a mistake changes nothing"
