"""What goes between the run and the driver: frames on two pipes, a length and one msgpack message.

The run sends Open, then Execute, Interrupt and Kill for trials that it has numbered, and Close. The
driver answers Opened or Refused; and of each trial Placed, Delivered as often as there is
something, and Over, which is the last that is heard of that number.
"""

from __future__ import annotations

import struct
from typing import Final, Literal, TypeAlias

import msgspec

from harness_ray.options import RayOptions

__all__ = [
    "LENGTH",
    "Close",
    "Command",
    "Delivered",
    "Execute",
    "Interrupt",
    "Kill",
    "Open",
    "Opened",
    "Over",
    "Placed",
    "Refused",
    "Reply",
    "Said",
    "decode_command",
    "decode_reply",
    "framed",
]

LENGTH: Final = struct.Struct("<I")


class Open(msgspec.Struct, frozen=True, tag="open"):
    options: RayOptions
    folder: str
    """For what a cluster of our own writes."""
    environment: dict[str, str]
    """Variables that trials get."""


class Execute(msgspec.Struct, frozen=True, tag="execute"):
    number: int
    job: bytes


class Interrupt(msgspec.Struct, frozen=True, tag="interrupt"):
    number: int


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    number: int


class Close(msgspec.Struct, frozen=True, tag="close"):
    pass


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    ray: str
    nodes: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    what: str
    remedy: str = ""


class Said(msgspec.Struct, frozen=True, tag="said"):
    """What a person should know meanwhile."""

    text: str


class Placed(msgspec.Struct, frozen=True, tag="placed"):
    number: int
    placement: dict[str, str]


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    number: int
    messages: list[bytes]


class Over(msgspec.Struct, frozen=True, tag="over"):
    number: int
    how: Literal["done", "lost", "place_lost", "cancelled", "killed", "refused"]
    what: str = ""
    remedy: str = ""


Command: TypeAlias = Open | Execute | Interrupt | Kill | Close
Reply: TypeAlias = Opened | Refused | Said | Placed | Delivered | Over

_encoder = msgspec.msgpack.Encoder()
_commands: Final[msgspec.msgpack.Decoder[Command]] = msgspec.msgpack.Decoder(Command)
_replies: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)


def framed(message: Command | Reply) -> bytes:
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def decode_command(body: bytes) -> Command:
    return _commands.decode(body)


def decode_reply(body: bytes) -> Reply:
    return _replies.decode(body)
