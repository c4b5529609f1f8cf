"""Instants as text, the way every answer of the server writes them."""

from datetime import UTC, datetime


def iso(at: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds: `2026-01-31T08:00:00.000Z`."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
