"""A mail server for tests: keeps what it accepts in FOLDER, one JSON object a line in mails.jsonl.

smtpd.py FOLDER PORT OPTIONS, where OPTIONS is JSON: starttls, smtps (bool), cert, key, user, password,
refuse (addresses answered 550), later (addresses answered 451 at their first RCPT), busy (mails answered 451 first),
stall (mails that are taken and not answered, first).
"""
import asyncio, json, ssl, sys, threading
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

folder, port, options = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])


def note(name, value):
    with open(f"{folder}/{name}", "a") as f:
        f.write(json.dumps(value) + "\n")


class Handler:
    def __init__(self):
        self.later = set(options.get("later", []))
        self.busy = options.get("busy", 0)
        self.stall = options.get("stall", 0)

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address in options.get("refuse", []):
            return "550 no such user here"
        if address in self.later:
            self.later.discard(address)
            return "451 greylisted, come back"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.stall > 0:
            self.stall -= 1
            await asyncio.sleep(600)
        if self.busy > 0:
            self.busy -= 1
            return "451 busy"
        note("mails.jsonl", {
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None or bool(options.get("smtps")),
            "user": session.auth_data, "mail": envelope.content.decode(),
        })
        return "250 queued as 1"


def authenticate(server, session, envelope, mechanism, data):
    note("logins.jsonl", {"mechanism": mechanism, "tls": session.ssl is not None})
    right = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == (options["user"], options["password"])
    return AuthResult(success=right, handled=False, auth_data=data.login.decode() if right else None)


more = {}
if options.get("cert"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["cert"], options["key"])
    if options.get("smtps"):
        more["ssl_context"] = context
    else:
        more.update(tls_context=context, require_starttls=bool(options.get("starttls")))
if options.get("user"):
    more.update(authenticator=authenticate, auth_required=True, auth_require_tls=bool(options.get("cert")) and not options.get("smtps"))
Controller(Handler(), hostname="127.0.0.1", port=port, server_hostname="mail.test", **more).start()
print("up", flush=True)
threading.Event().wait()
