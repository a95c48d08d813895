"""Everything that wants a GPU to be seen, in one command; its figures go to docs/gpu.md.

    python -m benchmarks.gpu                 all of it, and write docs/gpu.md's measured section
    python -m benchmarks.gpu --sizes 0.3B    with one model alone
    python -m benchmarks.gpu --sizes ''      without models: the counters alone
    python -m benchmarks.gpu --record FILE   a trace of this machine's GPUs, for HARNESS_GPU=replay:

measure.py   counters and sensors: cost of a call, update period, a square wave of load
models.py    random-weight models of real shape, made on the device; the `hf` backend over them
page.py      what was found, as the section of the page

Without a GPU it says so, and exits with status 2. Over GPUs that are not measured (HARNESS_GPU) it
prints its section with a watermark, and writes no page.
"""
