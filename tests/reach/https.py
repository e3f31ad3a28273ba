"""A server for the tests of `http`: python3 https.py CERT KEY, or without either for one in the clear. Prints its port.

/echo      what came, as JSON       /far      to another host        /down    to the same host without TLS
/hangup    reads, says nothing      /slow     answers after an hour  /near    to /echo
"""

import base64, http.server, json, ssl, sys, time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode()
        if self.path == "/hangup":
            self.close_connection = True
            return
        if self.path == "/slow":
            sys.stderr.write("slow\n")
            time.sleep(3600)
        if self.path in ("/near", "/far", "/down"):
            port = self.server.server_address[1]
            places = {"/near": "/echo", "/far": f"{SCHEME}://127.0.0.1:{port}/echo", "/down": f"http://localhost:{port}/echo"}
            self.send_response(302)
            self.send_header("location", places[self.path])
            self.send_header("content-length", "0")
            self.end_headers()
            return
        asked = self.headers.get("authorization")
        plain = base64.b64decode(asked[6:]).decode() if asked and asked.startswith("Basic ") else None
        said = {"method": self.command, "authorization": asked, "plain": plain, "body": body,
                "type": self.headers.get("content-type")}
        text = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("x-asked", asked or "")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
SCHEME = "http"
if len(sys.argv) > 1:
    SCHEME = "https"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
