"""The only loop and the only clock: threads bring events, one thread acts on them.

Each serial port has a thread that reads. The dispenser's thread also answers, under `line`, because a POLL must be
answered within 100 ms, however long an fsync takes in the loop. An exception in any thread ends the process: a machine
that is half alive is worse than one that starts again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import serial
import structlog

from jishan_agent.agent import Agent, AgentEvent, CardUnreadable, DispenserSpoke, Front, Scanned, Status
from jishan_agent.dispensers.base import Dispenser, OnlineChanged, Served, Serviced
from jishan_agent.mqtt_port import MqttPort
from jishan_agent.readers.scanners import EVENT, Scanner, ScannerSettings
from jishan_agent.readers.serial_cards import CardReader, CodeRead, Tapped, Unreadable
from jishan_agent.readers.serial_keypad import keys
from jishan_agent.vending import Identified
from jishan_protocol.sealing import Credential

READ_TIMEOUT_S: Final = 0.2
"""How soon a port's thread sees that it is to stop; bytes wake it at once."""

WRITE_TIMEOUT_S: Final = 0.5
"""With nobody reading, a write blocks after some 8 KB."""

FIRST_REOPEN_S: Final = 0.2
LONGEST_REOPEN_S: Final = 5.0

LONGEST_WAIT_S: Final = 1.0
"""The loop looks at the time at least so often; it is also how long a signal may wait."""

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time_ms() -> int:
    """Milliseconds since the host started, counting its sleep: a deadline must not pause with the host."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000


class Wire(Protocol):
    """Where a driver's bytes go and come from: a serial port, or something that passes for one."""

    def start(self) -> None:
        """Begin to read."""

    def stop(self) -> None:
        """Close it, and end its thread."""

    def write(self, output: bytes) -> None:
        """Write now, or lose it."""


class Port:
    """A serial port that is opened again whenever it went away. `received` runs in the port's own thread."""

    def __init__(self, url: str, baud_rate: int, received: Callable[[bytes], None], failed: Callable[[], None]) -> None:
        self._url = url
        self._baud_rate = baud_rate
        self._received = received
        self._failed = failed
        self._serial: serial.Serial | None = None
        self._stopping = threading.Event()
        self._log = structlog.get_logger("jishan_agent.port").bind(port=url)
        self._thread = threading.Thread(target=self._run_or_fail, name=f"port {url}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port and end the thread."""
        self._stopping.set()
        self._thread.join(LONGEST_REOPEN_S + READ_TIMEOUT_S)

    def write(self, output: bytes) -> None:
        """Write now, or lose it: what comes late must not be sent."""
        port = self._serial
        if port is None:
            return
        try:
            port.write(output)
        except (serial.SerialException, OSError) as error:
            self._log.warning("port_lost", error=str(error))
            self._close()

    def _run_or_fail(self) -> None:
        try:
            self._run()
        except Exception:
            self._log.exception("port_failed")
            self._failed()

    def _run(self) -> None:
        delay_s = FIRST_REOPEN_S
        while not self._stopping.is_set():
            if self._read_until_lost():
                delay_s = FIRST_REOPEN_S
            self._stopping.wait(delay_s)
            delay_s = min(2 * delay_s, LONGEST_REOPEN_S)

    def _read_until_lost(self) -> bool:
        """Open and read; True if anything came before the port went away."""
        has_read = False
        try:
            port = self._open()
            while port is not None and not self._stopping.is_set() and self._serial is port:
                data = self._read(port)
                if data is None:
                    break
                if data:
                    has_read = True
                    self._received(data)
        finally:
            self._close()
        return has_read

    def _open(self) -> serial.Serial | None:
        try:
            self._serial = serial.serial_for_url(
                self._url, self._baud_rate, timeout=READ_TIMEOUT_S, write_timeout=WRITE_TIMEOUT_S, exclusive=True
            )
        except (serial.SerialException, OSError) as error:
            self._log.warning("port_closed", error=str(error))
            return None
        self._log.info("port_open")
        return self._serial

    def _read(self, port: serial.Serial) -> bytes | None:
        """What has come: the first byte is waited for, the rest taken with it. None when the port is gone."""
        try:
            data = port.read(1)
            return bytes(data + port.read(port.in_waiting)) if data else b""
        except (serial.SerialException, OSError, TypeError) as error:
            # pyserial: an unplugged port raises OSError, one that was closed under a read TypeError.
            self._log.warning("port_lost", error=str(error))
            return None

    def _close(self) -> None:
        port, self._serial = self._serial, None
        if port is not None:
            port.close()


class KeyboardPort:
    """A keyboard of Linux, read as events and kept for us alone, so that a scan types into nothing else.

    It is opened again whenever it went away. A pipe of such events will do as well.
    """

    def __init__(self, path: str, received: Callable[[bytes], None], failed: Callable[[], None]) -> None:
        self._path = path
        self._received = received
        self._failed = failed
        self._stopping = threading.Event()
        self._log = structlog.get_logger("jishan_agent.port").bind(port=path)
        self._thread = threading.Thread(target=self._run_or_fail, name=f"keyboard {path}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Close the device and end the thread."""
        self._stopping.set()
        self._thread.join(LONGEST_REOPEN_S + READ_TIMEOUT_S)

    def write(self, output: bytes) -> None:
        """A scanner is told nothing."""

    def _run_or_fail(self) -> None:
        try:
            while not self._stopping.is_set():
                self._read_until_lost()
                self._stopping.wait(LONGEST_REOPEN_S / 5)
        except Exception:
            self._log.exception("port_failed")
            self._failed()

    def _read_until_lost(self) -> None:
        try:
            device = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            self._log.warning("port_closed", error=str(error))
            return
        try:
            _keep_alone(device)
            self._log.info("port_open")
            while not self._stopping.is_set():
                ready, _, _ = select.select([device], [], [], READ_TIMEOUT_S)
                if ready and not (data := os.read(device, EVENTS_AT_ONCE * EVENT.size)):
                    return
                if ready:
                    self._received(data)
        except OSError as error:
            self._log.warning("port_lost", error=str(error))
        finally:
            os.close(device)


EVENTS_AT_ONCE: Final = 64
_GRAB: Final = 0x40044590
"""EVIOCGRAB of linux/input.h: _IOW('E', 0x90, int)."""


def _keep_alone(device: int) -> None:
    # Imported here: there is no fcntl where there is no evdev either.
    import fcntl

    # A pipe is nobody else's anyway, and says ENOTTY.
    with contextlib.suppress(OSError):
        fcntl.ioctl(device, _GRAB, 1)


WireMaker = Callable[[str, int, Callable[[bytes], None], Callable[[], None]], Wire]

WIRES: Final[dict[str, WireMaker]] = {"mqtt": MqttPort, "mqtts": MqttPort}
"""What a port's address leads to, by its scheme; everything else is for pyserial."""


def wire_to(url: str, baud_rate: int, received: Callable[[bytes], None], failed: Callable[[], None]) -> Wire:
    """The wire that an address names, not yet started."""
    return WIRES.get(urlsplit(url).scheme, Port)(url, baud_rate, received, failed)


class Loop:
    """Joins an agent to its ports and its uplink, and runs it in the calling thread."""

    def __init__(self, status_path: Path) -> None:
        self.line = threading.RLock()
        self._events: queue.SimpleQueue[AgentEvent | None] = queue.SimpleQueue()
        self._has_failed = False
        self._is_stopping = False
        self._status_path = status_path
        self._status: Status | None = None
        self._dispenser: Dispenser | None = None
        self._dispenser_port: Wire | None = None
        self._ports: list[Wire] = []
        self._watch: Callable[[Front, int], None] | None = None

    def put(self, event: AgentEvent) -> None:
        """Queue an event from any thread."""
        self._events.put(event)

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler."""
        self._is_stopping = True
        self._events.put(None)

    def fail(self) -> None:
        """End `run` with an error: a thread has died."""
        self._has_failed = True
        self.stop()

    def add_dispenser(self, url: str, baud_rate: int, dispenser: Dispenser) -> None:
        """Read and answer the dispenser on the port `url`."""

        def received(data: bytes) -> None:
            with self.line:
                dispenser.receive(data, boot_time_ms())
                output = dispenser.take_output()
                if output:
                    port.write(output)
            self.put(DispenserSpoke())

        port = wire_to(url, baud_rate, received, self.fail)
        self._dispenser, self._dispenser_port = dispenser, port
        self._ports.append(port)

    def add_cards(self, url: str, baud_rate: int, reader: CardReader) -> None:
        """Read cards on the port `url`."""

        def received(data: bytes) -> None:
            for tap in reader.receive(data, boot_time_ms()):
                match tap:
                    case Tapped():
                        self.put(Identified(Credential(card=tap.uid)))
                    case CodeRead():
                        self.put(Scanned(tap.text))
                    case Unreadable():
                        self.put(CardUnreadable(tap.detail))

        self._ports.append(Port(url, baud_rate, received, self.fail))

    def add_keypad(self, url: str, baud_rate: int) -> None:
        """Read keys on the port `url`."""

        def received(data: bytes) -> None:
            self.put(keys(data))

        self._ports.append(Port(url, baud_rate, received, self.fail))

    def show_to(self, watch: Callable[[Front, int], None]) -> None:
        """Let `watch` see the front of the machine, and the time, after every turn; the loop's thread calls it."""
        self._watch = watch

    def add_scanner(self, url: str, settings: ScannerSettings) -> None:
        """Read a barcode scanner on the port `url`, or, where it types, on the keyboard device `url`."""
        scanner = Scanner(settings)

        def received(data: bytes) -> None:
            for text in scanner.receive(data, boot_time_ms()):
                self.put(Scanned(text))

        if settings.framing == "keys":
            self._ports.append(KeyboardPort(url, received, self.fail))
        else:
            self._ports.append(Port(url, settings.baud_rate, received, self.fail))

    def run(self, agent: Agent) -> bool:
        """Run until `stop`; False if a thread died. An exception of the agent goes through: the process ends."""
        for port in self._ports:
            port.start()
        try:
            while not self._is_stopping:
                self._turn(agent)
        finally:
            for port in self._ports:
                port.stop()
        return not self._has_failed

    def _turn(self, agent: Agent) -> None:
        wakeup_ms = agent.next_wakeup_ms
        wait_s = LONGEST_WAIT_S if wakeup_ms is None else (wakeup_ms - boot_time_ms()) / 1000
        try:
            event = self._events.get(timeout=min(max(wait_s, 0), LONGEST_WAIT_S))
        except queue.Empty:
            event = None
        if event is not None:
            agent.handle(event, boot_time_ms())
        if wakeup_ms is not None and boot_time_ms() >= wakeup_ms:
            agent.tick(boot_time_ms())
        self._flush()
        self._show(agent.status)
        if self._watch is not None:
            self._watch(agent.front, boot_time_ms())

    def _flush(self) -> None:
        """Write what the agent made the driver say."""
        if self._dispenser is None or self._dispenser_port is None:
            return
        with self.line:
            output = self._dispenser.take_output()
            if output:
                self._dispenser_port.write(output)

    def _show(self, status: Status) -> None:
        """Keep the status file up to date, for a screen or a person."""
        if status == self._status:
            return
        self._status = status
        temporary = self._status_path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(dataclasses.asdict(status), ensure_ascii=False) + "\n", encoding="utf-8")
            temporary.replace(self._status_path)
        except OSError:
            # A full disk must not stop what the reserve is there for.
            temporary.unlink(missing_ok=True)


SERVICE_S: Final = 60.0
"""A dispenser is there within seconds of its first word; what has not answered by then will not."""


def serve(url: str, baud_rate: int, dispenser: Dispenser, name: str, number: int | None) -> Served:
    """Have a dispenser that nobody else drives do one service; the calling thread waits for its answer.

    ValueError where it has no such service, or the number does not fit.
    """
    if not isinstance(dispenser, Serviced) or name not in dispenser.services:
        raise ValueError(f"{name}: there is no such service")
    line, is_asked, is_online, end_ms = threading.Lock(), False, False, boot_time_ms() + int(1000 * SERVICE_S)

    def received(data: bytes) -> None:
        with line:
            dispenser.receive(data, boot_time_ms())
            port.write(dispenser.take_output())

    port = wire_to(url, baud_rate, received, lambda: None)
    port.start()
    try:
        while boot_time_ms() < end_ms:
            time.sleep(READ_TIMEOUT_S)
            with line:
                dispenser.tick(boot_time_ms())
                for event in dispenser.take_events():
                    is_online = event.is_online if isinstance(event, OnlineChanged) else is_online
                    if isinstance(event, Served):
                        return event
                if is_online and not is_asked:
                    is_asked = True
                    dispenser.service(name, number, boot_time_ms())
                port.write(dispenser.take_output())
    finally:
        port.stop()
    return Served(name, False, "no answer" if is_asked else "nothing speaks there")
