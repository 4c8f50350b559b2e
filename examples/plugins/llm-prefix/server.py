#!/usr/bin/env python3
"""Pretends to serve a language model on loopback, one for each port: server.py 9001 9002

A conversation (header X-Conversation) that a server has seen before takes 20 ms, any
other 200 ms. Two are worked on at once, the others queue; each answer tells how many
there are, as ORCA has it. Ctrl-C ends them.
"""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Model:
    def __init__(self):
        self.seen = set()
        self.requests = 0
        self.lock = threading.Lock()
        self.workers = threading.Semaphore(2)

    def answer(self, conversation):
        with self.lock:
            self.requests += 1
        with self.workers:
            with self.lock:
                is_warm = conversation in self.seen
                self.seen.add(conversation)
            time.sleep(0.02 if is_warm else 0.2)
        with self.lock:
            self.requests -= 1
            return ("warm" if is_warm else "cold"), self.requests


def serve(port):
    model = Model()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            cache, queue = model.answer(self.headers.get("X-Conversation"))
            body = f"{cache} at {port}\n".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("endpoint-load-metrics", f"TEXT named_metrics.queue={queue}")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{port}/", flush=True)


if len(sys.argv) < 2:
    sys.exit(__doc__)
for argument in sys.argv[1:]:
    serve(int(argument))
try:
    threading.Event().wait()
except KeyboardInterrupt:
    pass
