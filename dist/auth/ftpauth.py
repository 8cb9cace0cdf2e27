"""The protocol of ftpserver --auth-socket, for programs that verify one login.

A program reads one line of JSON from standard input and writes one to standard output:

    {"v":1,"id":1,"user":"bob","password":"secret","client":"192.0.2.7","tls":true}
    {"id":1,"ok":true,"home":"/srv/bob","may":"list,read"}        the login is right; settings of poolftpd-users(5)
    {"id":1,"ok":false}                                            name or password is wrong
    {"id":1,"error":"the directory does not answer"}               the login cannot be verified now
"""

import argparse
import json
import sys

REQUEST_BYTES_MAX = 64 * 1024


class Unavailable(Exception):
    """The login cannot be verified now."""


def options(description):
    """Returns a parser with the options that all programs have. An argument @FILE stands for the lines of a file."""
    parser = argparse.ArgumentParser(description=description, fromfile_prefix_chars="@")
    parser.add_argument("--home", metavar="PATH", default="%h",
                        help="home in the answer: %%u is the user, %%h the home that the system knows (default: %%h)")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[],
                        help="further setting in the answer, as in poolftpd-users(5), such as may=list,read")
    return parser


def answer(arguments, verify):
    """Answers one request. verify(user, password, client) returns the home known to the system ("" if there is none), or
    None if the login is wrong, and raises Unavailable."""
    line = sys.stdin.buffer.readline(REQUEST_BYTES_MAX + 1)
    if not line:
        return  # A connection without a request, such as that of ftpserver check.
    reply = {}
    try:
        request = json.loads(line)
        reply["id"] = request["id"]
        reply.update(decide(arguments, request, verify))
    except (ValueError, KeyError, TypeError):
        reply["error"] = "the request is not understood"
    except Unavailable as error:
        reply["error"] = str(error)
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def decide(arguments, request, verify):
    user, password = request["user"], request["password"]
    # SECURITY: such a name could lead out of a home such as /srv/%u. Many directories accept an empty password.
    if not password or not user or "\0" in user + password or "/" in user or user in (".", ".."):
        return {"ok": False}
    known = verify(user, password, request.get("client", ""))
    if known is None:
        return {"ok": False}
    settings = dict(setting.split("=", 1) for setting in arguments.set)
    home = "".join({"%u": user, "%h": known, "%%": "%"}.get(part, part) for part in split(arguments.home))
    # SECURITY: without a home, the user would get the root of the server.
    if not home.startswith("/"):
        raise Unavailable("the user has no home; use --home")
    return {"ok": True, "home": home, **settings}


def split(template):
    """Splits a template into its placeholders of two characters, and all other characters."""
    parts, rest = [], template
    while rest:
        length = 2 if rest.startswith("%") else 1
        parts.append(rest[:length])
        rest = rest[length:]
    return parts
