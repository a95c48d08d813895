"""What a person sees while a run is under way.

board.py      what is known: trials by arm and cell, time, estimates, doubts
estimates.py  current figures, from trials that have ended
doubts.py     the cheap ones among the rules of the verdict, as they arise
lines.py      that as lines of text which fit a screen
terminal.py   on a terminal: the lines, redrawn in place
plain.py      elsewhere: a line per trial

Nothing is computed while calls are measured: the call's record is put aside, and read when its
trial has ended. The figures here are interim, of what has ended so far; the summary is derived from
the records.
"""
