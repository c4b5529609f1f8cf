"""Logs: one JSON object a line on standard error, with the request or redemption id in each; never a secret.

A field whose name says that it is secret is blotted out wherever it lies, nested ones too.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Final, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

SECRET_NAME: Final = re.compile(
    r"pin$|^pin|password|secret|token|authorization|credential|claim_code|^card$|uid|(^|_)key$", re.IGNORECASE
)
BLOTTED: Final = "[redacted]"


def configure(form: Literal["json", "text"] = "json") -> None:
    """Send structlog's and the standard library's records through one chain. Called once by each program."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        blot,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [to_stderr]
    root.setLevel(logging.INFO)


def blot(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """A processor that replaces the value of every field with a secret's name."""
    return {key: _blotted(key, value) for key, value in event.items()}


def _blotted(name: str, value: object) -> object:
    if SECRET_NAME.search(name) and value is not None:
        return BLOTTED
    if isinstance(value, Mapping):
        return {key: _blotted(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_blotted("", inner) for inner in value]
    return value
