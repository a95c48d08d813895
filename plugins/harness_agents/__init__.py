"""Agents in any language: programs that do an agent's work by docs/agent-protocol.md.

protocol.py      the events, decoded strictly; the job
program.py       one program started, watched and measured; several at once
"""

from __future__ import annotations
