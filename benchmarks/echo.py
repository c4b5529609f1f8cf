"""The plain echo that P4 is held against: paho asks, paho answers, through the same broker.

200 bytes of JSON, QoS 1 both ways, 50 questions under way, the answering side a process of its own: nothing is read,
signed or written. `python -m benchmarks.echo PORT` is that side.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final

from paho.mqtt import client as mqtt

from benchmarks.fleet import connected

IN_FLIGHT: Final = 50
PAYLOAD: Final = json.dumps({"text": "x" * 188}).encode()
ASK: Final = "echo/ask"
ANSWER: Final = "echo/answer"


def measure(port: int, seconds: float) -> float:
    """Round trips per second."""
    assert len(PAYLOAD) == 200
    count, begun_s, rate = 0, time.perf_counter(), 0.0

    def subscribed(client: mqtt.Client, *_: Any) -> None:
        for _number in range(IN_FLIGHT):
            client.publish(ASK, PAYLOAD, 1)

    def answered(client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        nonlocal count, rate
        count += 1
        passed_s = time.perf_counter() - begun_s
        if passed_s < seconds:
            client.publish(ASK, PAYLOAD, 1)
        else:
            rate = count / passed_s
            client.disconnect()

    connected(port, "echo-ask", ANSWER, subscribed, answered).loop_forever()
    return rate


def answer(port: int) -> None:
    """Give back what comes, until the process is ended."""

    def subscribed(client: mqtt.Client, *_: Any) -> None:
        sys.stdout.write('{"ready": true}\n')
        sys.stdout.flush()

    def asked(client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        client.publish(ANSWER, message.payload, 1)

    connected(port, "echo-answer", ASK, subscribed, asked).loop_forever()


if __name__ == "__main__":
    answer(int(sys.argv[1]))
