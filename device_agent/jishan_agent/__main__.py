"""`jishan-agent`: enrol a machine, run it, look at it.

Exit codes of `run`: 0 stopped by a signal, 1 a setting or the journal refuses the start, 3 the disk failed in the
middle (start again: the journal knows what was under way), 4 a thread died.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, Literal, NoReturn, Protocol
from urllib.parse import urlsplit

import click
import serial
import structlog

from jishan_agent import config
from jishan_agent.agent import Agent, CannotSpeak, StopAt, stop_nowhere
from jishan_agent.config import Config
from jishan_agent.dispensers import DRIVERS
from jishan_agent.dispensers.base import Memory, Serviced
from jishan_agent.enrolment import enroll as enroll_machine
from jishan_agent.journal import JournalBroken, locked, open_journal, read_journal
from jishan_agent.kiosk import voice
from jishan_agent.kiosk.booth import Booth
from jishan_agent.kiosk.phrases import GOODS, Phrase
from jishan_agent.kiosk.screen import Setting
from jishan_agent.loop import WIRES, Loop, boot_time_ms, serve
from jishan_agent.readers.serial_cards import CardReader
from jishan_agent.uplink import Uplink, UplinkSettings
from jishan_protocol.errors import JishanError

EXIT_DISK: Final = 3
EXIT_THREAD: Final = 4
PACK_NUMBERS_SKIPPED: Final = 64
"""A new run may not use at once a number that the last run used after it had last written one down."""

_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("jishan-agent"),
    show_default=True,
    help="Where this machine's settings and journal lie.",
)


_protocols: Final = click.Choice(sorted(DRIVERS))


@click.group()
def main() -> None:
    """The program on one vending machine."""


@main.command()
@_directory
@click.option("--server", required=True, help="https://HOST:PORT of the server.")
@click.option("--code", required=True, help="The claim code that the server gave for this machine.")
@click.option("--allow-plain-http", is_flag=True, help="Enrol over HTTP with a server that is not on this host.")
@click.option("--dispenser-protocol", type=_protocols, help="What the dispenser speaks; remembered for `run`.")
@click.option("--dispenser-port", help="Remember this port for `run`.")
@click.option("--keypad-port", help="Remember this port for `run`.")
@click.option("--card-port", help="Remember this port for `run`.")
@click.option("--scanner-port", help="Remember this port for `run`.")
def enroll(directory: Path, server: str, code: str, allow_plain_http: bool, **to_remember: str | None) -> None:
    """Make this directory the machine that the claim code names."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with locked(directory / "agent.lock"):
            journal = open_journal(directory, _fresh_id())
            try:
                machine_id = enroll_machine(server, code, directory, journal, allow_plain_http=allow_plain_http)
            finally:
                journal.close()
            remembered = {name: value for name, value in to_remember.items() if value is not None}
            config.write(directory, config.enrolled(directory) | remembered)
    except JishanError as error:
        _refuse(error)
    click.echo(f"enrolled as {machine_id} in {directory}")


@main.command()
@_directory
@click.option("--dispenser-protocol", type=_protocols, help="What the dispenser speaks.")
@click.option("--dispenser-port", help="A device, or socket://host:port.")
@click.option("--dispenser-profile", "--profile", help="Which firmware the dispenser has.")
@click.option("--keypad-port", help="The device of a keypad, for a dispenser without keys.")
@click.option("--card-port", help="The card reader's device, or socket://host:port.")
@click.option("--card-profile", help="How the card reader prints a UID.")
@click.option("--scanner-port", help="A barcode scanner's device, or the keyboard that it is, below /dev/input.")
@click.option("--kiosk-address", help="Serve the machine's own screen there: 127.0.0.1:8090.")
def run(directory: Path, **options: str | None) -> None:
    """Sell, until SIGTERM or Ctrl-C."""
    try:
        settings = config.load(directory, os.environ, **options)
        _configure_log(settings)
        with locked(directory / "agent.lock"):
            code = _run(settings)
    except JournalBroken as error:
        structlog.get_logger("jishan_agent").critical("journal_broken", error=str(error))
        click.echo(f"jishan-agent: {error}", err=True)
        sys.exit(EXIT_DISK)
    except JishanError as error:
        _refuse(error)
    sys.exit(code)


@main.command()
@_directory
def check(directory: Path) -> None:
    """Say whether settings, journal and ports are in order; the agent must not be running."""
    failed = False
    try:
        settings = config.load(directory)
        click.echo(f"settings: ok, machine {settings.machine_id}")
        with locked(directory / "agent.lock"):
            journal = open_journal(directory, _fresh_id())
            click.echo(f"journal: ok, {journal.outbox_length} messages wait, boot {journal.boot}")
            journal.close()
        profile, reader = config.dispenser_profile(settings), config.reader_settings(settings)
        protocol = settings.dispenser_protocol
        click.echo(f"profiles: ok, dispenser {protocol}:{profile.name}, reader {reader.framing} {reader.profile.form}")
        speaks_first = DRIVERS[protocol].speaks_first
        for name, url, baud_rate, must_speak in (
            ("dispenser_port", settings.dispenser_port, config.dispenser_baud_rate(settings), speaks_first),
            ("keypad_port", settings.keypad_port, settings.keypad_baud_rate, False),
            ("card_port", settings.card_port, reader.baud_rate, False),
            ("scanner_port", settings.scanner_port, config.scanner_settings(settings).baud_rate, False),
        ):
            failed |= not _check_port(name, url, baud_rate, must_speak=must_speak)
        failed |= not _check_front(settings)
    except JishanError as error:
        _refuse(error)
    sys.exit(1 if failed else 0)


@main.command()
@_directory
@click.option("--list", "is_list", is_flag=True, help="Only name what this dispenser can do.")
@click.argument("name", required=False)
@click.argument("number", type=click.IntRange(0, 65_535), required=False)
def service(directory: Path, is_list: bool, name: str | None, number: int | None) -> None:
    """Have the dispenser do what only a person in front of it should ask for; the agent must not be running."""
    try:
        settings = config.load(directory)
        with locked(directory / "agent.lock"):
            journal = open_journal(directory, _fresh_id())
            try:
                memory = Memory((journal.pack_number + PACK_NUMBERS_SKIPPED) % 255)
                dispenser = config.dispenser(settings, memory)
                services = dispenser.services if isinstance(dispenser, Serviced) else {}
                if is_list or name is None:
                    click.echo("\n".join(f"{one}: {meaning}" for one, meaning in services.items()) or "nothing")
                    return
                if journal.left_open():
                    raise config.ConfigError("a redemption is open: run the agent until it has ended")
                baud_rate = config.dispenser_baud_rate(settings)
                served = serve(settings.dispenser_port, baud_rate, dispenser, name, number)
                journal.write(lambda: journal.save_pack_number(dispenser.pack_number))
            finally:
                journal.close()
    except (JishanError, ValueError, TypeError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{served.name}: {'done' if served.is_done else 'not done'}: {served.detail}")
    sys.exit(0 if served.is_done else 1)


@main.group()
def voices() -> None:
    """The recordings that a machine speaks with."""


@voices.command("record-list")
@_directory
@click.option("--language", type=click.Choice(["zh", "en"]), default="zh", show_default=True)
def record_list(directory: Path, language: Literal["zh", "en"]) -> None:
    """Print the sheet for whoever records a pack: the name of each file, and what is said in it."""
    click.echo("\n".join(f"{name}.wav\t{phrase.text(language)}" for name, phrase in _phrases(directory).items()))


@voices.command("check")
@_directory
@click.argument("pack")
def check_pack(directory: Path, pack: str) -> None:
    """Say which recordings of PACK are missing, silent, or no sound; what is missing is spoken by the machine."""
    folders = voice.pack_folders(directory, pack)
    if not folders:
        raise click.ClickException(f"there is no folder voices/{pack} in {directory}")
    phrases = _phrases(directory)
    found = voice.faults(folders[0], phrases)
    for name, fault in found.items():
        click.echo(f"{name}.wav: {fault}\t{phrases[name].zh}")
    click.echo(f"{len(phrases) - len(found)} of {len(phrases)} are there")
    sys.exit(1 if found else 0)


def _phrases(directory: Path) -> dict[str, Phrase]:
    """The book, and the goods of this machine once it knows them."""
    phrases = voice.book()
    try:
        journal = read_journal(directory)
    except JishanError:
        return phrases
    desired = journal.desired()
    journal.close()
    slots = desired.slots if desired else ()
    return phrases | {GOODS + slot.product_id: Phrase(slot.name_zh, slot.name_en) for slot in slots}


@main.command()
@_directory
@click.option("--redemptions", "limit", default=20, show_default=True, help="How many of the newest to show.")
def state(directory: Path, limit: int) -> None:
    """Print what the journal and the status file hold, as JSON; the agent may be running."""
    try:
        journal = read_journal(directory)
    except JishanError as error:
        _refuse(error)
    desired = journal.desired()
    words: dict[str, Any] = {
        "journal_id": journal.journal_id,
        "boot": journal.boot,
        "last_seq": journal.last_seq,
        "outbox_length": journal.outbox_length,
        "desired_version": desired.version if desired else None,
        "planogram_version": desired.planogram_version if desired else None,
        "closed": {"machine" if place is None else str(place): why for place, why in journal.closures().items()},
        "redemptions": [dataclasses.asdict(one) for one in journal.redemptions(limit)],
        "status": _status(directory),
    }
    journal.close()
    click.echo(json.dumps(words, ensure_ascii=False, indent=2))


def _run(settings: Config) -> int:
    journal = open_journal(settings.directory, _fresh_id())
    loop = Loop(settings.directory / "status.json")
    reader = config.reader_settings(settings)
    dispenser = config.dispenser(settings, Memory((journal.pack_number + PACK_NUMBERS_SKIPPED) % 255))
    if not settings.dispenser_port:
        raise config.ConfigError("dispenser_port: is not set")
    loop.add_dispenser(settings.dispenser_port, config.dispenser_baud_rate(settings), dispenser)
    if settings.keypad_port:
        loop.add_keypad(settings.keypad_port, settings.keypad_baud_rate)
    if settings.card_port:
        loop.add_cards(settings.card_port, reader.baud_rate, CardReader(reader))
    scanner = config.scanner_settings(settings)
    if settings.scanner_port:
        loop.add_scanner(settings.scanner_port, scanner)
    uplink = Uplink(
        UplinkSettings(
            settings.mqtt_url,
            settings.mqtt_username,
            settings.mqtt_password,
            settings.ca_file,
            settings.machine_id,
            settings.shard,
        ),
        loop.put,
        SystemRandom(),
    )
    agent = Agent(
        dataclasses.replace(settings.identity, agent_version=_version()),
        journal,
        dispenser,
        uplink.publish,
        SystemRandom(),
        _stop_at(os.environ),
        loop.line,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: loop.stop())
    front = _front(settings, loop)
    agent.start(boot_time_ms())
    uplink.start()
    for one in front:
        one.start()
    try:
        return 0 if loop.run(agent) else EXIT_THREAD
    finally:
        for one in front:
            one.stop()
        uplink.stop()
        journal.close()


class _Part(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


def _front(settings: Config, loop: Loop) -> list[_Part]:
    """The machine's own screen and voice, where it has them, joined to the loop and not yet started."""
    if not settings.kiosk_address and not settings.audio_command:
        return []
    voices, parts, pictures = _voices(settings), list[_Part](), dict[str, Path]()
    player = voice.Player(settings.audio_command, loop.fail) if settings.audio_command else None
    if settings.kiosk_address:
        # Only here: a machine without a screen needs no web server.
        from jishan_agent.kiosk import page

        pictures = page.pictured(settings.directory)
    setting = Setting(settings.telephone, frozenset(pictures), is_heard_elsewhere=player is not None)
    trouble = _speech_trouble(settings, voices)
    if trouble:
        loop.put(CannotSpeak(trouble))
    booth = Booth(setting, voices.book, voices, loop.put, player)
    loop.show_to(booth.watch)
    if player is not None:
        parts.append(player)
    if settings.kiosk_address:
        at = urlsplit(f"//{settings.kiosk_address}")
        try:
            pages = page.Pages(booth, voices, pictures, at.hostname or "", at.port or 0)
        except OSError as error:
            raise config.ConfigError(f"kiosk_address: {settings.kiosk_address}: {error}") from error
        structlog.get_logger("jishan_agent").info("kiosk", url=f"http://{at.hostname}:{pages.port}/")
        parts.append(pages)
    return parts


def _voices(settings: Config) -> voice.Voices:
    packs = voice.pack_folders(settings.directory, settings.voice_pack)
    return voice.Voices(packs, settings.directory / "spoken", settings.speech_command, voice.book())


def _speech_trouble(settings: Config, voices: voice.Voices) -> str:
    """Why this machine cannot be heard; empty when it can, as far as its own programs say."""
    player = shlex.split(settings.audio_command)
    if player and shutil.which(player[0]) is None:
        return f"audio_command: there is no {player[0]}"
    return voices.trouble()


def _check_front(settings: Config) -> bool:
    """Say how the machine shows itself and speaks; False where it is to speak and cannot."""
    click.echo(f"kiosk_address: {settings.kiosk_address or 'not set'}")
    if not settings.kiosk_address and not settings.audio_command:
        return True
    click.echo(f"telephone: {settings.telephone or 'not set: nobody can be called from the screen'}")
    trouble = _speech_trouble(settings, _voices(settings))
    click.echo(f"voice: {trouble or 'ok'}")
    return not trouble


def _stop_at(environment: Mapping[str, str]) -> StopAt:
    """For the kill tests: what this process does when it reaches one of its steps.

    At the step that JISHAN_AGENT_STOP_AT names it ends without any farewell; at the one that the file of
    JISHAN_AGENT_HALT_FILE names at that moment it halts until SIGCONT.
    """
    last_step, halt_file = environment.get("JISHAN_AGENT_STOP_AT"), environment.get("JISHAN_AGENT_HALT_FILE")
    if not last_step and not halt_file:
        return stop_nowhere

    def stop(reached: str) -> None:
        if reached == last_step:
            os.kill(os.getpid(), signal.SIGKILL)
        if halt_file and Path(halt_file).read_text(encoding="ascii") == reached:
            os.kill(os.getpid(), signal.SIGSTOP)

    return stop


def _check_port(name: str, url: str, baud_rate: int, *, must_speak: bool) -> bool:
    if not url:
        click.echo(f"{name}: not set")
        return name != "dispenser_port"
    if config.is_keyboard(url):
        is_there = os.access(url, os.R_OK)
        click.echo(f"{name}: {'ok' if is_there else f'{url} cannot be read'}")
        return is_there
    if urlsplit(url).scheme in WIRES:
        click.echo(f"{name}: {url} is opened by `run` only")
        return True
    try:
        with serial.serial_for_url(url, baud_rate, timeout=3 if must_speak else 0, exclusive=True) as port:
            heard = port.read(1)
    except (serial.SerialException, OSError) as error:
        click.echo(f"{name}: {error}")
        return False
    is_silent = must_speak and not heard
    click.echo(f"{name}: {'open, but nothing speaks there' if is_silent else 'ok'}")
    return not is_silent


def _configure_log(settings: Config) -> None:
    as_text = settings.log == "text"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _status(directory: Path) -> Any:
    try:
        return json.loads((directory / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _version() -> str:
    try:
        return version("jishan")
    except PackageNotFoundError:
        return "0"


def _fresh_id() -> str:
    return f"{SystemRandom().getrandbits(128):032x}"


def _refuse(error: JishanError) -> NoReturn:
    raise click.ClickException(str(error))


if __name__ == "__main__":
    main()
