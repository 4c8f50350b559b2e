#!/usr/bin/env python3
"""Hello-world servers on loopback, one for each port: hello.py 9001 9002 9003

Ctrl-C ends them. A port may carry a delay: 9003:40 answers after 40 ms.
"""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve(port, delay):
    class Hello(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            time.sleep(delay / 1000)
            body = f"Hello from {port}\n".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{port}/", flush=True)


if len(sys.argv) < 2:
    sys.exit(__doc__)
for argument in sys.argv[1:]:
    port, _, delay = argument.partition(":")
    serve(int(port), float(delay or 0))
try:
    threading.Event().wait()
except KeyboardInterrupt:
    pass
