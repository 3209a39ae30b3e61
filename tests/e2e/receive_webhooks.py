"""Receives webhooks as docs/OPERATIONS.md tells a receiver to, with the standard library alone.

The first try of each message is answered 503. Prints a line of JSON for each that was verified; one that does
not verify is answered 401 and printed as such.

Usage: receive_webhooks.py PORT SECRET
"""
import base64
import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

port, secret = int(sys.argv[1]), base64.b64decode(sys.argv[2].removeprefix("whsec_"))
tried = set()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.judge(body)
        self.send_response(status)
        self.end_headers()

    def judge(self, body):
        event, sent_at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signed = f"{event}.{sent_at}.".encode() + body
        expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        given = [one.removeprefix("v1,") for one in self.headers["webhook-signature"].split()]
        if abs(time.time() - int(sent_at)) > 300 or not any(hmac.compare_digest(expected, one) for one in given):
            self.say(event, {"type": "not verified"})
            return 401
        if event not in tried:
            tried.add(event)
            return 503
        self.say(event, json.loads(body))
        return 204

    def say(self, event, message):
        print(json.dumps({"id": event, **message}), flush=True)

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", port), Receiver).serve_forever()
