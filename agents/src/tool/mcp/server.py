"""An MCP server that behaves, and misbehaves on request: over standard input and output, or with a port as its
argument over streamable HTTP. What happens to it is written to the file that LOG names."""
import http.server
import json
import os
import sys
import threading

TOOLS = {
    "echo": {"readOnlyHint": True},
    "set": {"idempotentHint": True},
    "fail": {},
    "die": {},
    "hang": {"readOnlyHint": True},
    "garbage": {"readOnlyHint": True},
    "more": {},
    "leak": {},
    "scold": {},
    "look": {"readOnlyHint": True},
    "restless": {},
}
more = []
CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


def log(line):
    with open(os.environ["LOG"], "a") as file:
        file.write(line + "\n")


def schema():
    return {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def tools():
    known = list(TOOLS.items()) + [(name, {}) for name in more]
    listed = [{"name": n, "description": f"Does {n}.", "inputSchema": schema(), "annotations": a} for n, a in known]
    token = os.environ.get("TOKEN")
    if token:
        told = {"type": "object", "properties": {token: {"description": token}}}
        listed.append({"name": "told", "description": f"Runs with {token}.", "inputSchema": told})
        listed.append({"name": token, "inputSchema": {"type": "object"}})
    return listed + [{"name": "bad name!", "inputSchema": {"type": "object"}}]


def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def text(words, is_error=False):
    return {"content": [{"type": "text", "text": words}], "isError": is_error}


def call(params):
    name, words = params["name"], params["arguments"]["text"]
    log(f"{name} {words} {params.get('_meta', {}).get('callboard/idempotency-key')}")
    if name == "fail":
        return text(f"cannot do {words}", True)
    if name == "die" or (name == "set" and not os.path.exists(os.environ["LOG"] + ".died")):
        open(os.environ["LOG"] + ".died", "w").close()
        os._exit(3)
    if name == "hang":
        return None
    if name == "garbage":
        for line in ["{", "[]", "null", '{"jsonrpc": "2.0"}', "\x00\x01", "x" * 100000]:
            print(line, flush=True)
        for _ in range(2000):
            send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}})
    if name == "leak":
        return text(f"it runs with {os.environ.get('TOKEN')}")
    if name == "scold":
        return text(f"{os.environ.get('TOKEN')} may not do that. " + "No. " * 50000, True)
    if name == "look":
        picture = {"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"}
        return {"content": [{"type": "text", "text": "a lamp:"}, picture], "isError": False}
    if name in ("more", "restless"):
        more.append("extra" if name == "more" else name)
        send(CHANGED)
    return text(f"{name}: {words}")


def answer(request):
    method, params = request.get("method"), request.get("params", {})
    if method == "notifications/cancelled":
        log("cancelled")
    if "id" not in request:
        return None
    if method == "initialize":
        result = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "test", "version": "1"},
        }
    elif method == "tools/list":
        if "restless" in more:
            log("listed")
            send(CHANGED)
        result = {"tools": tools()}
    elif method == "tools/call":
        result = call(params)
        if result is None:
            return None
    elif method == "ping":
        result = {}
    else:
        return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": f"no {method}"}}
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        token = self.headers.get("x-token")
        log(f"http {request.get('method')} {token}")
        wanted = os.environ["LOG"] + ".wanted"
        status = 200
        if os.path.exists(wanted) and open(wanted).read() != token:
            error = {"code": -32001, "message": f"{token} is not the token"}
            body, status = {"jsonrpc": "2.0", "id": request.get("id"), "error": error}, 401
        else:
            body = answer(request)
        data = json.dumps(body).encode() if body else b""
        self.send_response(status if body else 202)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.send_response(405)
        self.send_header("content-length", "0")
        self.end_headers()

    do_DELETE = do_GET

    def log_message(self, *_):
        pass


if len(sys.argv) > 1:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with open(sys.argv[1] + ".new", "w") as file:
        file.write(str(server.server_port))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server.serve_forever()
else:
    for line in sys.stdin:
        reply = answer(json.loads(line))
        if reply:
            send(reply)
