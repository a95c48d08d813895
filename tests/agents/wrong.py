"""An agent of the standard library alone, for Ollama's dialect and one stream, which breaks one
rule of docs/agent-protocol.md where it is told to: python wrong.py [RULE]."""

import hashlib
import http.client
import json
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

BREAK = sys.argv[1] if len(sys.argv) > 1 else ""
UNITS = {"csv": "rows", "json": "values", "md": "headings"}


class StoppedError(Exception):
    pass


def say(**event):
    print(json.dumps(event), flush=True)


def interrupted(*_):
    raise StoppedError


def main():
    job = json.loads(sys.stdin.readline())
    if job["protocol"] != 1 and BREAK != "version":
        say(t="error", message="only 1")
        return 2
    about = {"protocol": 1, "name": "wrong", "version": "1", "language": "Python"}
    if BREAK == "hello":
        del about["language"]
    say(t="hello", **about)
    for line in sys.stdin:
        message = json.loads(line)
        if message["t"] == "start":
            break
        now_ns = time.time_ns() if BREAK == "clock" else time.monotonic_ns()
        say(t="clock", n=message["n"], at_ns=now_ns)
        if message["n"] == 4:
            say(t="ready")
            if BREAK == "ready":
                say(t="ready")
    else:
        return 1
    signal.signal(signal.SIGTERM, signal.SIG_IGN if BREAK == "interrupt" else interrupted)
    while time.monotonic_ns() < message["at_ns"] and BREAK != "barrier":
        time.sleep(0.0005)
    say(t="begin", at_ns=time.monotonic_ns())
    if BREAK == "json":
        print("debug: working", flush=True)
    if BREAK == "event":
        say(t="progress", share=0.5)
    say(t="x_mood", good=True)
    return work(job)


def work(job):
    summary, texts, ok = "", {}, True
    if job["corpus"]:
        say(t="phase_start", name="ingest", at_ns=time.monotonic_ns())
        summary = ingest(job["corpus"])
        if BREAK != "phases":
            say(t="phase_end", name="ingest", at_ns=time.monotonic_ns())
    for stage in job["stages"]:
        say(t="phase_start", name=stage["name"], at_ns=time.monotonic_ns())
        texts[stage["name"]] = call(job, stage, summary, texts)
        say(t="phase_end", name=stage["name"], at_ns=time.monotonic_ns())
        if texts[stage["name"]] is None:
            ok = False
            break
    told = summary + "!" if BREAK == "summary" else summary
    data = {"summary_sha256": hashlib.sha256(told.encode()).hexdigest()}
    result = {"status": "ok" if ok else "error", "at_ns": time.monotonic_ns(), "data": data}
    say(t="result", **result)
    if BREAK == "result":
        say(t="result", **result)
    return 3 if BREAK == "exit" or not ok else 0


def call(job, stage, summary, texts):
    name = f"{job['agent']}.0.{stage['name']}"
    told = "somebody.else" if BREAK == "calls" else name
    prompt = stage["prompt"].replace("{{stream}}", "0").replace("{{data_summary}}", summary)
    for other, text in texts.items():
        prompt = prompt.replace(f"{{{{answer:{other}}}}}", text[: stage["answer_chars_max"]])
    body = stage["body"]
    *place, last = stage["prompt_at"]
    holder = body
    for step in place:
        holder = holder[step]
    holder[last] = prompt
    if BREAK == "body":
        body["stream_options"] = {}
    headers = dict(job["endpoint"]["headers"]) | {"Content-Type": "application/json"}
    if BREAK != "request-id":
        headers["X-Request-ID"] = name
    end = {"status": "error", "http_status": None, "content_chunks": 0, "server": {}}
    stamps, text = [], ""
    connection = http.client.HTTPConnection(urlsplit(job["endpoint"]["url"]).netloc)
    sent_ns = time.monotonic_ns()
    try:
        connection.connect()
        sent_ns = time.monotonic_ns()
        connection.request("POST", stage["path"], json.dumps(body), headers)
        answer = connection.getresponse()
        end["http_status"] = answer.status
        for line in answer:
            now_ns = time.monotonic_ns()
            chunk = json.loads(line)
            message = chunk.pop("message", None) or {}
            piece = (message.get("content") or "") + (chunk.pop("response", None) or "")
            if piece or message.get("thinking") or chunk.pop("thinking", None):
                stamps.append(now_ns)
                text += piece
            chunk.pop("thinking", None)
            chunk.pop("context", None)
            end["server"] = chunk
        end["status"] = "ok"
    except (OSError, StoppedError) as error:
        end["status"] = "truncated" if BREAK == "failure" else "error"
        end["error"] = {"code": "connect", "message": str(error)}
    end_ns = sent_ns - 1 if BREAK == "stamps" else time.monotonic_ns()
    say(t="call_sent", call=told, stage=stage["name"], at_ns=sent_ns)
    if stamps:
        first = {"at_ns": None} if BREAK == "reason" else {"at_ns": stamps[0]}
        say(t="call_first_token", call=told, **first)
        say(t="call_last_token", call=told, at_ns=stamps[-1])
    end |= {"content_chunks": len(stamps), "chunk_ns": stamps, "text": text}
    if BREAK == "chunks":
        end["chunk_ns"] = stamps[::-1]
    if BREAK == "server":
        end["text"] = text.upper() + "!"
    if BREAK == "fields":
        del end["http_status"]
    say(t="call_end", call=told, at_ns=end_ns, **end)
    return text if end["status"] == "ok" else None


def ingest(corpus):
    read, skipped = [], 0
    for entry in corpus["files"]:
        try:
            data = Path(corpus["path"], entry["path"]).read_bytes()
            count = COUNTS[entry["kind"]](data)
        except (OSError, ValueError):
            skipped += 1
            continue
        read.append((entry["path"], entry["kind"], len(data), count))
    lines = [f"files read: {len(read)}, skipped: {skipped}, bytes: {sum(r[2] for r in read)}"]
    for kind, unit in UNITS.items():
        some = [r for r in read if r[1] == kind]
        if some:
            units, size = sum(r[3] for r in some), sum(r[2] for r in some)
            lines.append(f"{kind}: {len(some)} files, {units} {unit}, {size} bytes")
    lines += [f"- {path}: {size} bytes, {n} {UNITS[kind]}" for path, kind, size, n in read]
    return "\n".join(lines) + "\n"


def values(data):
    def leaves(value):
        inner = value.values() if isinstance(value, dict) else value
        return sum(map(leaves, inner)) if isinstance(value, dict | list) else 1

    return leaves(json.loads(data.decode()))


COUNTS = {
    "csv": lambda data: max(0, sum(bool(line.strip()) for line in data.split(b"\n")) - 1),
    "json": values,
    "md": lambda data: sum(line.startswith(b"#") for line in data.split(b"\n")),
}

if __name__ == "__main__":
    sys.exit(main())
