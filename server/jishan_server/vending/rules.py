"""The numbers that vending goes by. Defaults of named settings; each says why it is what it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DOUBT_ANSWER_DAYS: Final = 5
"""A week of work: somebody has then stood before the machine, and asked its maker."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator may set for the whole scheme."""

    # The agent counts it from having asked: check (a few polls) and a person's patience fit into it.
    vend_within_s: int = 30
    heartbeat_s: int = 15
    # Three missed beats and a slow network.
    offline_after: timedelta = timedelta(seconds=60)
    # A heated vend of an XY machine takes that long.
    longest_vend: timedelta = timedelta(minutes=5)
    checked_after: timedelta = timedelta(minutes=2)
    graded_up_after: timedelta = timedelta(hours=24)
    # What a card may spend on one local day without its PIN, if it is lost.
    points_without_pin_per_day: int = 20
    # A machine that shows more unknown cards than this in the span is being tried out by somebody.
    unknown_cards: int = 20
    unknown_cards_span: timedelta = timedelta(minutes=10)
    claim_code_lives: timedelta = timedelta(hours=24)
    # Decisions against residents, by one decider, at one machine or about one resident, before a second person signs.
    refusals_alone: int = 3
    refusals_span: timedelta = timedelta(days=30)
    # The longest an `authorize` may say it is valid; the agent asks again with the same id.
    longest_ask: timedelta = timedelta(minutes=2)
    # Working days within which a resident has an answer to a doubt, and to a report.
    doubt_answer_days: int = DOUBT_ANSWER_DAYS
    report_answer_days: int = DOUBT_ANSWER_DAYS
    # So long a voucher may be taken; then its points are asked back of the machine.
    voucher_lives: timedelta = timedelta(days=7)
    # Open at once for one resident: each binds points and an item.
    vouchers_of_resident: int = 3
    # A machine that is asked to close vouchers and says nothing for so long has somebody look after it.
    vouchers_reported_within: timedelta = timedelta(hours=24)
    time_zone: str = "Asia/Shanghai"

    @property
    def zone(self) -> ZoneInfo:
        """Whose days the scheme's are."""
        return ZoneInfo(self.time_zone)

    def day_start(self, now: datetime) -> datetime:
        """When the local day of `now` began."""
        local = now.astimezone(self.zone)
        return local.replace(hour=0, minute=0, second=0, microsecond=0)
