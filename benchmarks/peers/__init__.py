"""Ours and the well-known tools, side by side, against the same truth server.

    python -m benchmarks.peers [--quick] [--json FILE] [--write-docs]      (or `make peers`)

Installs AIPerf and GuideLLM (versions in install.py) from the package registry, each into a virtual
environment of its own below build/peers, and trains a small tokenizer there, because both insist on
one. What is there already is used again. Then, load by load and round by round, each tool in turn
measures the same `harness sim`, with the client on one core and the server on another; the server's
log says what happened, and the table sets beside it what the tool reported.

How the comparison is kept fair
- Every run has a fresh server with the same spec, and the order of the tools turns from round to
  round. What a run costs is counted for the whole process tree, by the kernel.
- Each tool is started as its own user would: `harness run load`, `aiperf profile`, `guidellm run`,
  with its own defaults, but for what makes the work equal (the number of streams, requests and
  output tokens) and for what spares a peer needless work: AIPerf counts tokens by the server's
  usage (--use-server-token-count) and looks for no GPU and no Prometheus; no tool draws anything.
- All warm up with one request per stream where the load says so; warm-up is in nobody's figures.
- One function finds a tool's requests in the server's log (truth.py): by the `id` in the answer
  where the tool records it, by X-Request-ID where it sends and records one. What is not found is
  counted.
- The marginal CPU of a chunk is the difference between two output lengths: start-up, reports and
  the work per request drop out. Chunks are counted in the server's log.

    loads.py     what is asked of the server
    install.py   virtual environments and tokenizer
    tools.py     how each tool is started; read.py: what it says afterwards
    bare.py      epoll and recvmsg and nothing else: what reading costs at least
    launch.py    one run in a process tree of its own: cores, CPU, memory, time limit
    truth.py     the server's log, and the join
    rounds.py    every run, in turn
    figures.py   from runs to figures and goals; table.py: to text and Markdown
"""
