"""The cabinet speaking each protocol: `FACES` says for each name how to make it.

Codecs are imported here under names of their own: `xy` in this package is the face.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jishan_protocol.dispensers import lock_board as lock_codec
from jishan_protocol.dispensers import mdb_lines as mdb_codec
from jishan_protocol.dispensers import modbus_board as modbus_codec
from jishan_protocol.dispensers import mqtt_board as mqtt_codec
from jishan_protocol.dispensers import xy as xy_codec
from jishan_sim.faces.base import FaceMaker
from jishan_sim.faces.lock_board import face_for as lock_face_for
from jishan_sim.faces.mdb_lines import face_for
from jishan_sim.faces.modbus_board import face_for as modbus_face_for
from jishan_sim.faces.mqtt_board import face_for as mqtt_face_for
from jishan_sim.faces.xy import XyFace, cabinet_for

FACES: Final[Mapping[str, FaceMaker[Any]]] = {
    "lock-board": FaceMaker(lock_codec.PROFILES, lock_codec.BAUD_RATE, lock_face_for, has_keypad=False),
    "mdb": FaceMaker(mdb_codec.PROFILES, mdb_codec.BAUD_RATE, face_for),
    "modbus-board": FaceMaker(modbus_codec.PROFILES, modbus_codec.BAUD_RATE, modbus_face_for, has_keypad=False),
    "mqtt": FaceMaker(mqtt_codec.PROFILES, mqtt_codec.BAUD_RATE, mqtt_face_for, has_keypad=False),
    "xy": FaceMaker(
        xy_codec.PROFILES,
        xy_codec.BAUD_RATE,
        lambda slots, profile, faults, random: XyFace(cabinet_for(profile, slots), profile, faults, random),
    ),
}
