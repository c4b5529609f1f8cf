"""Drivers: a codec on a byte stream, one for each protocol.

`DRIVERS` says for each name of a protocol how to make its driver. A profile is what differs between firmwares: a frozen
dataclass of the codec's, and its table of built-in ones, of which one is `default`. Codecs are imported here under
names of their own: `xy` in this package is the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic

from jishan_agent.dispensers.base import Dispenser, Memory
from jishan_agent.dispensers.lock_board import LockBoardDispenser
from jishan_agent.dispensers.mdb_lines import MdbDispenser
from jishan_agent.dispensers.modbus_board import ModbusBoardDispenser
from jishan_agent.dispensers.mqtt_board import MqttBoard
from jishan_agent.dispensers.xy import XyDispenser
from jishan_protocol.dispensers import lock_board as lock_codec
from jishan_protocol.dispensers import mdb_lines as mdb_codec
from jishan_protocol.dispensers import modbus_board as modbus_codec
from jishan_protocol.dispensers import mqtt_board as mqtt_codec
from jishan_protocol.dispensers import xy as xy_codec
from jishan_protocol.dispensers.profiles import P, chosen


@dataclass(frozen=True, slots=True)
class Maker(Generic[P]):
    """How the driver of one protocol is made: its built-in profiles, the usual speed of its line, and its class.

    `speaks_first`: the dispenser says something without being asked, so that a silent line is a fault.
    """

    profiles: Mapping[str, P]
    baud_rate: int
    build: Callable[[P, Memory], Dispenser]
    speaks_first: bool = False

    def profile(self, name: str, own: Mapping[str, object] | None = None) -> P:
        """The profile of that name, with an operator's `own` settings of it. ProfileError names what is wrong."""
        return chosen(self.profiles, name, own)

    def __call__(self, profile: str, memory: Memory, own: Mapping[str, object] | None = None) -> Dispenser:
        """A driver with a profile. ProfileError as in `profile`."""
        return self.build(self.profile(profile, own), memory)


DRIVERS: Final[Mapping[str, Maker[Any]]] = {
    "lock-board": Maker(lock_codec.PROFILES, lock_codec.BAUD_RATE, lambda profile, memory: LockBoardDispenser(profile)),
    "mdb": Maker(mdb_codec.PROFILES, mdb_codec.BAUD_RATE, lambda profile, memory: MdbDispenser(profile)),
    "modbus-board": Maker(
        modbus_codec.PROFILES, modbus_codec.BAUD_RATE, lambda profile, memory: ModbusBoardDispenser(profile)
    ),
    "mqtt": Maker(mqtt_codec.PROFILES, mqtt_codec.BAUD_RATE, lambda profile, memory: MqttBoard(profile)),
    "xy": Maker(
        xy_codec.PROFILES,
        xy_codec.BAUD_RATE,
        lambda profile, memory: XyDispenser(profile, memory.pack_number),
        speaks_first=True,
    ),
}
