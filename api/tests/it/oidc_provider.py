"""A little OpenID Connect provider: discovery, keys that rotate, and tokens with whatever claims are asked for.

    oidc_provider.py PORT
"""
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

ISSUER = f"http://127.0.0.1:{sys.argv[1]}/realms/hospital"
state = {"keys": {}, "fetches": 0, "broken": False, "generation": 0}


def rotate():
    state["generation"] += 1
    made = state["generation"]
    state["keys"] = {
        "RS256": RSAKey.generate_key(2048, {"kid": f"rsa-{made}", "use": "sig", "alg": "RS256"}),
        "ES256": ECKey.generate_key("P-256", {"kid": f"ec-{made}", "use": "sig"}),
    }


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/realms/hospital/.well-known/openid-configuration":
            self.answer(503 if state["broken"] else 200, {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"})
        elif self.path == "/realms/hospital/keys":
            state["fetches"] += 1
            keys = [key.as_dict(private=False) for key in state["keys"].values()]
            # A kind of key that nobody here knows, and one that is not for signatures.
            keys += [{"kty": "AKP", "kid": "later", "alg": "ML-DSA-44", "pub": "AA"}]
            keys += [dict(state["keys"]["RS256"].as_dict(private=False), kid="for-secrets", use="enc")]
            self.answer(503 if state["broken"] else 200, {"keys": keys})
        elif self.path == "/fetches":
            self.answer(200, state["fetches"])
        else:
            self.answer(404, {})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path == "/sign":
            key = state["keys"][asked.get("alg", "RS256")]
            header = {"alg": asked.get("alg", "RS256"), "kid": asked.get("kid", key.kid)}
            self.answer(200, jwt.encode(header, asked["claims"], key, algorithms=["RS256", "ES256"]))
        elif self.path == "/rotate":
            rotate()
            self.answer(200, {})
        elif self.path in ("/break", "/mend"):
            state["broken"] = self.path == "/break"
            self.answer(200, {})
        else:
            self.answer(404, {})

    def log_message(self, *_):
        pass


rotate()
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
