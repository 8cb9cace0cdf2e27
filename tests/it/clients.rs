//! Clients of others against our server. Each lists, gets, puts, resumes, renames and deletes, as far as it can: in
//! passive, extended passive and active mode, over IPv4 and IPv6, to a server alone and through the balancer. A client
//! that is not installed is skipped, and counted as skipped.

use std::fs;
use std::net::SocketAddr;

use crate::common::outside::{Case, find, has_ipv6, run_each, run_script};
use crate::common::raw::RawClient;
use crate::common::secure::certificate;
use crate::common::{TestServer, noise};
use poolftpd::internal::net::tls::Newest;
use tempfile::TempDir;

const SIZE: usize = 3_000_000;
const HALF: usize = 1_000_000;

/// A task for a client, and the condition that must be true afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// The output of the client names `big.bin`.
    List,
    /// `got.bin` is the server's `big.bin`.
    Get,
    /// `part.bin`, which had the first half, is the server's `big.bin`.
    ResumeGet,
    /// The server's `moved.bin`, uploaded as `put.bin` and renamed, is `local.bin`.
    PutAndRename,
    /// The server's `put.bin` is `local.bin`.
    Put,
    /// The server's `resumed.bin`, which had the first half, is `local.bin`.
    ResumePut,
    /// The server's `cut.bin`, of which the first half is kept, is `local.bin`.
    ResumeCutOff,
    /// The server's `gone.bin` is gone.
    Delete,
}

use Deed::{Delete, Get, List, Put, PutAndRename, ResumeCutOff, ResumeGet, ResumePut};

const ALL: &[Deed] = &[List, Get, ResumeGet, PutAndRename, ResumePut, ResumeCutOff, Delete];

struct RealClient {
    program: &'static str,
    deeds: &'static [Deed],
    /// Ways to open a data connection: the name, and the options that select it in this client.
    modes: &'static [(&'static str, &'static str)],
    ipv6: bool,
    /// A script of sh, with `$mode`, `$host`, `$port` and `$url`.
    script: &'static str,
}

const CLIENTS: &[RealClient] = &[
    RealClient {
        program: "curl",
        deeds: ALL,
        modes: &[("extended passive", ""), ("passive", "--disable-epsv"), ("active", "--ftp-port -"), ("plain active", "--disable-eprt --ftp-port -"),
            ("TLS", "--ssl-reqd -k"), ("TLS 1.2", "--ssl-reqd -k --tls-max 1.2"), ("implicit TLS", "-k")],
        ipv6: true,
        script: "
            c='curl -sS --max-time 20 '$mode
            $c $url/
            $c -o got.bin $url/big.bin
            $c -C - -o part.bin $url/big.bin
            $c -T local.bin $url/put.bin
            $c -C - -T local.bin $url/resumed.bin
            $c -C - -T local.bin $url/cut.bin
            $c -Q 'RNFR put.bin' -Q 'RNTO moved.bin' -Q 'DELE gone.bin' -o /dev/null $url/",
    },
    RealClient {
        program: "lftp",
        deeds: ALL,
        modes: &[
            ("passive", "set ftp:passive-mode on; set ftp:prefer-epsv off"),
            ("extended passive", "set ftp:passive-mode on; set ftp:prefer-epsv on"),
            ("active", "set ftp:passive-mode off"),
            ("TLS", "set ssl:verify-certificate no; set ftp:ssl-force yes; set ftp:ssl-protect-data yes"),
            ("active TLS", "set ssl:verify-certificate no; set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ftp:passive-mode off"),
            ("implicit TLS", "set ssl:verify-certificate no"),
        ],
        ipv6: true,
        script: "
            lftp -e \"set net:timeout 10; set net:max-retries 1; set cmd:fail-exit on; $mode; open -u anonymous,x $url; ls;
                get big.bin -o got.bin; get -c big.bin -o part.bin; put local.bin -o put.bin; put -c local.bin -o resumed.bin; put -c local.bin -o cut.bin;
                mv put.bin moved.bin; rm gone.bin; mirror --parallel=4 . mirrored; bye\"
            cmp mirrored/big.bin got.bin",
    },
    RealClient {
        program: "wget",
        deeds: &[List, Get, ResumeGet],
        modes: &[("passive", ""), ("active", "--no-passive-ftp")],
        ipv6: true,
        script: "
            w='wget -nv --tries=1 --timeout=20 '$mode
            $w -O index.html $url/ && cat index.html
            $w -O got.bin $url/big.bin
            cp part.bin big.bin && $w -c $url/big.bin && mv big.bin part.bin",
    },
    RealClient {
        program: "tnftp",
        deeds: &[List, Get, ResumeGet, PutAndRename, Delete],
        modes: &[("extended passive", "-p"), ("active", "-A")],
        ipv6: true,
        script: "
            tnftp -n -v $mode $host $port <<END
user anonymous x
binary
ls
get big.bin got.bin
reget big.bin part.bin
put local.bin put.bin
rename put.bin moved.bin
delete gone.bin
bye
END",
    },
    RealClient {
        program: "ncftpget",
        deeds: &[List, Get, Put],
        modes: &[("passive", "-F"), ("active", "-E")],
        ipv6: false,
        script: "
            common=\"-u anonymous -p x -P $port\"
            ncftpls $mode $common -l ftp://$host/
            mkdir down && ncftpget -V $mode $common $host down big.bin && mv down/big.bin got.bin
            cp local.bin put.bin && ncftpput -V $mode $common $host . put.bin",
    },
    RealClient {
        program: "python3",
        deeds: ALL,
        modes: &[("passive", "True"), ("active", "False")],
        ipv6: true,
        script: "python3 - <<END
import ftplib
f = ftplib.FTP(timeout=20)
f.connect('$host', $port)
f.login()
f.set_pasv($mode)
print(f.nlst())
print(list(f.mlsd()))
f.dir()
with open('got.bin', 'wb') as out: f.retrbinary('RETR big.bin', out.write)
with open('part.bin', 'ab') as out: f.retrbinary('RETR big.bin', out.write, rest=out.tell())
with open('local.bin', 'rb') as data: f.storbinary('STOR put.bin', data)
with open('local.bin', 'rb') as data:
    start = f.size('resumed.bin')
    data.seek(start)
    f.storbinary('STOR resumed.bin', data, rest=start)
with open('local.bin', 'rb') as data:
    start = f.size('cut.bin')
    assert start > 0
    data.seek(start)
    f.storbinary('APPE cut.bin', data)
f.rename('put.bin', 'moved.bin')
f.delete('gone.bin')
f.mkd('d')
f.cwd('d')
assert f.pwd() == '/d'
f.cwd('..')
f.rmd('d')
f.quit()
END",
    },
    RealClient {
        program: "python3",
        deeds: &[List, Get, Put, Delete],
        modes: &[("TLS 1.2", "TLSv1_2"), ("TLS 1.3", "TLSv1_3")],
        ipv6: true,
        // ftplib does not resume sessions by itself; its users add this.
        script: "python3 - <<END
import ftplib, ssl
class Resuming(ftplib.FTP_TLS):
    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        return self.context.wrap_socket(conn, server_hostname=self.host, session=self.sock.session), size
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.minimum_version = context.maximum_version = ssl.TLSVersion.$mode
f = Resuming(timeout=20, context=context)
f.connect('$host', $port)
f.login()
f.prot_p()
print(f.nlst())
f.dir()
with open('got.bin', 'wb') as out: f.retrbinary('RETR big.bin', out.write)
with open('local.bin', 'rb') as data: f.storbinary('STOR put.bin', data)
f.delete('gone.bin')
f.quit()
END",
    },
    RealClient {
        program: "php",
        deeds: &[List, Get, ResumeGet, PutAndRename, ResumePut, Delete],
        modes: &[("passive", "passive"), ("active", "active"), ("TLS", "TLS"), ("TLS 1.2", "TLS")],
        ipv6: false,
        script: "php -r '
            [$mode, $host, $port] = [getenv(\"mode\"), getenv(\"host\"), (int) getenv(\"port\")];
            $f = $mode == \"TLS\" ? ftp_ssl_connect($host, $port, 20) : ftp_connect($host, $port, 20);
            $all = ftp_login($f, \"anonymous\", \"x\") && ftp_pasv($f, $mode != \"active\");
            print_r(ftp_nlist($f, \".\"));
            $all = $all && ftp_get($f, \"got.bin\", \"big.bin\") && ftp_put($f, \"put.bin\", \"local.bin\")
                && ftp_get($f, \"part.bin\", \"big.bin\", FTP_BINARY, FTP_AUTORESUME)
                && ftp_put($f, \"resumed.bin\", \"local.bin\", FTP_BINARY, FTP_AUTORESUME)
                && ftp_rename($f, \"put.bin\", \"moved.bin\") && ftp_delete($f, \"gone.bin\");
            exit($all ? 0 : 1);'",
    },
    RealClient {
        program: "ruby",
        deeds: &[List, Get, ResumeGet, PutAndRename, Delete],
        // Over TLS 1.3, OpenSSL uses each ticket once, and gets none while it uploads.
        modes: &[("passive", "passive"), ("active", "active"), ("TLS 1.2", "TLS")],
        ipv6: true,
        script: "ruby -rnet/ftp - <<END
f = Net::FTP.new('$host', port: $port, passive: '$mode' != 'active', ssl: '$mode' == 'TLS' && {verify_mode: 0}, username: 'anonymous')
puts f.nlst
f.getbinaryfile('big.bin', 'got.bin')
f.resume = true
f.getbinaryfile('big.bin', 'part.bin')
f.resume = false
f.putbinaryfile('local.bin', 'put.bin')
f.rename('put.bin', 'moved.bin')
f.delete('gone.bin')
f.quit
END",
    },
    RealClient {
        program: "perl",
        deeds: &[List, Get, ResumeGet, PutAndRename, Delete],
        modes: &[("passive", "1"), ("active", "0")],
        ipv6: true,
        script: "perl -MNet::FTP - <<END
\\$f = Net::FTP->new('$host', Port => $port, Passive => $mode, Timeout => 20) or die;
\\$f->login or die;
\\$f->binary;
print join ' ', \\$f->ls;
\\$f->get('big.bin', 'got.bin') && \\$f->get('big.bin', 'part.bin', -s 'part.bin') && \\$f->put('local.bin', 'put.bin')
    && \\$f->rename('put.bin', 'moved.bin') && \\$f->delete('gone.bin') or die \\$f->message;
END",
    },
    RealClient {
        program: "erl",
        deeds: &[List, Get, PutAndRename, Delete],
        modes: &[("passive", "{mode,passive}"), ("active", "{mode,active}"),
            ("TLS 1.2", "{mode,passive},{tls,[{verify,verify_none}]},{tls_ctrl_session_reuse,true}")],
        ipv6: false,
        // With each server, it leaves out the end of a download whose 226 it receives before all bytes.
        script: "erl -noshell -eval \"
            {ok,_}=application:ensure_all_started(ftp), {ok,F}=ftp:open(\\\"$host\\\",[{port,$port},$mode]),
            ok=ftp:user(F,\\\"anonymous\\\",\\\"x\\\"), ok=ftp:type(F,binary), {ok,L}=ftp:ls(F), io:put_chars(L),
            Get=fun Get(N) when N>0 -> ok=ftp:recv(F,\\\"big.bin\\\",\\\"got.bin\\\"),
                case filelib:file_size(\\\"got.bin\\\") of 3000000 -> ok; _ -> Get(N-1) end end,
            ok=Get(5), ok=ftp:send(F,\\\"local.bin\\\",\\\"put.bin\\\"),
            ok=ftp:rename(F,\\\"put.bin\\\",\\\"moved.bin\\\"), ok=ftp:delete(F,\\\"gone.bin\\\"), ftp:close(F), halt(0).\"",
    },
    RealClient {
        program: "rclone",
        deeds: &[List, Get, Put, Delete],
        modes: &[("passive", ""), ("TLS", "--ftp-explicit-tls --ftp-no-check-certificate"),
            ("TLS 1.2", "--ftp-explicit-tls --ftp-no-check-certificate")],
        ipv6: false,
        script: "
            r=\"rclone --config /dev/null --retries 1 --ftp-host $host --ftp-port $port --ftp-user anonymous --ftp-pass $(rclone obscure x) $mode\"
            $r lsl :ftp:
            $r copyto :ftp:big.bin got.bin
            $r copyto local.bin :ftp:put.bin
            mkdir several; for n in 1 2 3 4 5; do cp local.bin several/$n; done
            $r copy several :ftp:several
            $r deletefile :ftp:gone.bin",
    },
    RealClient {
        program: "ftpclient",
        deeds: &[List, Get, PutAndRename, Delete],
        modes: &[("passive", ""), ("active", "--active"), ("TLS", "--tls require --insecure"), ("stream TLS", "--stream --tls require --insecure")],
        ipv6: true,
        script: "
            $ftpclient $mode -e -c 'ls; get big.bin got.bin; put local.bin put.bin; rename put.bin moved.bin; rm gone.bin; bye' $host $port",
    },
];

/// Declares a test for each client.
macro_rules! clients {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run_each(cases(stringify!($name)));
            }
        )*

        #[test]
        fn each_client_has_a_test() {
            for client in CLIENTS {
                assert!([$(stringify!($name)),*].contains(&client.program), "{}", client.program);
            }
        }
    };
}

clients! { curl lftp wget tnftp ncftpget python3 php ruby perl erl rclone ftpclient }

/// Returns a case for each mode of this client: over IPv4 and IPv6, to a server alone and through the balancer.
fn cases(program: &str) -> Vec<Case> {
    let has_ipv6 = has_ipv6();
    let mut cases = Vec::new();
    for client in CLIENTS.iter().filter(|client| client.program == program) {
        for (mode, words) in client.modes {
            for (family, host) in [("IPv4", "127.0.0.1"), ("IPv6", "::1")] {
                if family == "IPv6"
                    && (!client.ipv6 || mode.contains("plain") || *words == "--disable-epsv")
                {
                    continue;
                }
                let here = client.program == "ftpclient" || find(client.program).is_some();
                let missing = match family {
                    _ if !here => Some("not installed"),
                    "IPv6" if !has_ipv6 => Some("this machine has no IPv6"),
                    _ => None,
                };
                for (slaves, through) in [(0, ""), (2, ", through the balancer")] {
                    let title = format!("{} in {mode} mode over {family}{through}", client.program);
                    let play = move || play(client, (mode, words), host, slaves);
                    cases.push(Case { title, missing, play: Box::new(play) });
                }
            }
        }
    }
    cases
}

fn play(
    client: &RealClient,
    (name, mode): (&str, &str),
    host: &str,
    slaves: u16,
) -> Result<(), String> {
    let keys = tempfile::tempdir().unwrap();
    let implicit = name.contains("implicit");
    let server = TestServer::start(|config| {
        if name.contains("TLS") {
            config.tls.keys = vec![certificate(keys.path(), "localhost")];
            config.implicit_tls = implicit.then_some(0);
            if name.contains("TLS 1.2") {
                config.tls_max = Newest::V1_2;
            }
        }
        config.write = true;
        config.bind = None;
        config.slaves = slaves;
    });
    let (big, local) = (noise(SIZE), noise(SIZE + 1));
    let folder = tempfile::tempdir().unwrap();
    server.write("big.bin", &big);
    server.write("resumed.bin", &local[..HALF]);
    server.write("gone.bin", "x");
    RawClient::log_in(SocketAddr::new(host.parse().unwrap(), server.address().port()))
        .cut_off("cut.bin", &local[..HALF]);
    fs::write(folder.path().join("part.bin"), &big[..HALF]).unwrap();
    fs::write(folder.path().join("local.bin"), &local).unwrap();
    let port = server.address().port().to_string();
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let listeners = server.server.as_ref().unwrap().listeners();
    let url = if implicit {
        format!("ftps://{bracketed}:{}", listeners[1].address.port())
    } else {
        format!("ftp://{bracketed}:{port}")
    };
    let ours = env!("CARGO_BIN_EXE_ftpclient");
    let variables =
        [("mode", mode), ("host", host), ("port", &port), ("url", &url), ("ftpclient", ours)];
    let said = run_script(client.script, folder.path(), &variables)?;
    for deed in client.deeds {
        if !is_done(*deed, &said, &server, &folder, &big, &local) {
            let number = ALL.iter().position(|other| other == deed);
            return Err(format!("deed {number:?} was not done; the client said:\n{said}"));
        }
    }
    // The server must still serve clients.
    let address = SocketAddr::new(host.parse().unwrap(), server.address().port());
    RawClient::log_in(address);
    Ok(())
}

fn is_done(
    deed: Deed,
    said: &str,
    server: &TestServer,
    folder: &TempDir,
    big: &[u8],
    local: &[u8],
) -> bool {
    let here = |name: &str| fs::read(folder.path().join(name)).unwrap_or_default();
    let there = |name: &str| fs::read(server.path(name)).unwrap_or_default();
    match deed {
        List => said.contains("big.bin"),
        Get => here("got.bin") == big,
        ResumeGet => here("part.bin") == big,
        PutAndRename => there("moved.bin") == local && !server.path("put.bin").exists(),
        Put => there("put.bin") == local,
        ResumePut => there("resumed.bin") == local,
        ResumeCutOff => there("cut.bin") == local,
        Delete => !server.path("gone.bin").exists(),
    }
}
