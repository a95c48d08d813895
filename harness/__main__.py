"""`python -m harness`, and the command `harness`."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # While we are imported, Ctrl-C ends us without a traceback; `main` answers it in a line.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from harness.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
