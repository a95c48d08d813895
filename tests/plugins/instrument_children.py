"""The child that test_instruments.py tells what to do, one JSON line at a time."""

CHILD = """
import json, os, socket, sys, time

held = []
listening = socket.create_server(("127.0.0.1", 0))


def listen():
    return listening.getsockname()[1]


def burn(cpu_s):
    began_s = time.process_time()
    while time.process_time() - began_s < cpu_s:
        sum(range(500))
    return time.process_time() - began_s


def hold(size):
    held.append(bytearray(size))
    for page in range(0, size, 4096):
        held[-1][page] = 1
    return size


def write(path, size):
    with open(path, "wb", buffering=0) as file:
        for _ in range(size // 65536):
            file.write(bytes(65536))


def read(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(65536):
            pass


for line in sys.stdin:
    what, *words = json.loads(line)
    print(json.dumps(globals()[what](*words)), flush=True)
"""
