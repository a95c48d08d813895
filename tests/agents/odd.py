"""A program that behaves badly: python odd.py HOW. Until `start` it keeps to the protocol, unless
it is told to misbehave before that."""

import json
import os
import signal
import sys
import time

HOW = sys.argv[1]


def say(**event):
    print(json.dumps(event), flush=True)


print("odd is going to", HOW, file=sys.stderr, flush=True)
if HOW == "be deaf":
    signal.pause()
job = json.loads(sys.stdin.readline())
if HOW == "die early":
    sys.exit(7)
if HOW == "greet wrongly":
    print("Hello, world!", flush=True)
    signal.pause()
say(t="hello", protocol=1, name="odd", version="1", language="Python")
if HOW == "refuse late":
    say(t="error", message="no licence")
    sys.exit(3)
for line in sys.stdin:
    message = json.loads(line)
    if message["t"] == "start":
        break
    say(t="clock", n=message["n"], at_ns=time.monotonic_ns())
    if message["n"] == 4:
        say(t="ready")
while time.monotonic_ns() < message["at_ns"]:
    time.sleep(0.0005)
say(t="begin", at_ns=time.monotonic_ns())
if HOW == "hang":
    signal.pause()
if HOW == "ignore everything":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pause()
if HOW == "write a long line":
    block = b"x" * 65536
    while True:
        os.write(1, block)
if HOW == "flood":
    block = b'{"t":"x_flood"}\n' * 4096
    while True:
        os.write(1, block)
if HOW == "die":
    print("\x1b[31mit went wrong\x1b[0m", file=sys.stderr, flush=True)
    sys.exit(5)
if HOW == "be killed":
    os.kill(os.getpid(), signal.SIGKILL)
if HOW == "speak nonsense":
    print("half of it", flush=True)
    signal.pause()
if HOW == "leave a child":
    if os.fork() == 0:
        signal.pause()
    print("child", flush=True, file=sys.stderr)
if HOW == "leave a job" and os.fork() == 0:
    os.setpgid(0, 0)
    signal.pause()
if HOW == "say too much":
    for _ in range(100):
        say(t="x_much", text="m" * 10_000)
    say(t="result", at_ns=time.monotonic_ns(), status="ok", data={"much": "d" * 2**20})
    sys.exit(0)
if HOW == "give up":
    say(t="error", message="no such model")
    sys.exit(1)
if HOW == "linger":
    say(t="result", at_ns=time.monotonic_ns(), status="ok")
    signal.pause()
if HOW == "tell where it ran":
    data = {"cpus": sorted(os.sched_getaffinity(0)), "group": os.getpgid(0), "pid": os.getpid()}
    say(t="result", at_ns=time.monotonic_ns(), status="ok", data=data)
    sys.exit(0)
if HOW == "be silent about a call":
    say(t="call_sent", call="a.0.only", stage="only", at_ns=time.monotonic_ns())
    sys.exit(0)
say(t="result", at_ns=time.monotonic_ns(), status="ok")
