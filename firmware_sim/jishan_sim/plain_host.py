"""The simplest program that can drive an XY controller: it vends whatever is pressed, without cards, points or memory.

It stands in for a real program where a scenario brings none. It answers every POLL, acknowledges all data, checks a
selection (01) before it drives it (06), never drives the same press twice, and says how it went in the agent's words:
`choose` after a card, `vending`, then `dispensed`, `not_dispensed`, `not_sellable` or `outcome_unknown`. That is the
controller's word alone: the cabinet knows the truth. Bytes and the time come in, bytes go out.
"""

from __future__ import annotations

from typing import Final

from jishan_protocol.dispensers import xy
from jishan_protocol.errors import ProtocolError

FORGET_MS: Final = 8_000
"""A slow coil turns for 7.2 s. A real machine may take a minute, and its program waits for it."""

SAID: Final = {
    "welcome": ("请选择商品。", "Please choose an item."),
    "choose": ("请选择商品。", "Please choose an item."),
    "vending": ("正在出货，请稍候。", "Your item is on its way."),
    "dispensed": ("请取走商品。", "Please take your item."),
    "not_dispensed": ("没有出货。", "Nothing came out."),
    "not_sellable": ("这个商品暂时不能出货。", "This item cannot be sold right now."),
    "outcome_unknown": ("这次还不能确认有没有出货。", "We cannot tell yet whether the item came out."),
}


class PlainXyHost:
    """One host on one line. `said` is a code of SAID."""

    def __init__(self, profile: xy.XyProfile) -> None:
        self.said = "welcome"
        self._profile = profile
        self._parser = xy.Parser()
        self._pack_no = 0
        self._heard: tuple[int, bytes] | None = None
        self._to_say: list[xy.Message] = [xy.Synchronise()]
        self._unknown_at_ms: int | None = None

    def tap(self) -> None:
        """A card was held to the reader; any card will do."""
        self.said = "choose"

    def receive(self, data: bytes, now_ms: int) -> bytes:
        """Take what the controller sent, in pieces of any size, empty too; gives what is to be sent back."""
        if self._unknown_at_ms is not None and now_ms >= self._unknown_at_ms:
            self._end("outcome_unknown")
        answers = b""
        for found in self._parser.feed(data):
            if isinstance(found, xy.BadBytes):
                continue
            try:
                message = xy.read(found)
            except ProtocolError:
                continue
            if isinstance(message, xy.Ack):
                continue
            if isinstance(message, xy.Poll):
                answers += self._write(self._to_say.pop(0) if self._to_say else xy.Ack())
                continue
            answers += self._write(xy.Ack())
            data_frame = (found.pack_no or 0, xy.encode(found))
            if data_frame != self._heard:  # else its ACK was lost, and it says the same again
                self._heard = data_frame
                self._take(message, now_ms)
        return answers

    def _take(self, message: xy.Message, now_ms: int) -> None:
        is_vending = self._unknown_at_ms is not None
        match message:
            case xy.Selected(selection=0):
                self.said = "welcome"
            case xy.Selected(selection=selection) if not is_vending:
                self.said = "vending"
                self._unknown_at_ms = now_ms + FORGET_MS
                self._to_say.append(xy.Check(selection))
            case xy.CheckResult(status=xy.CHECK_NORMAL, selection=selection) if is_vending:
                self._to_say.append(xy.Drive(self._profile.drop_sensor, False, selection))
            case xy.CheckResult() if is_vending:
                self._end("not_sellable")
            case xy.DispensingStatus(status=status) if is_vending:
                match xy.outcome_of(status):
                    case xy.Outcome.DISPENSED:
                        self._end("dispensed")
                    case xy.Outcome.NOT_DISPENSED:
                        self._end("not_dispensed")
                    case xy.Outcome.UNKNOWN:
                        self._end("outcome_unknown")
            case xy.Synchronise() if is_vending:
                self._end("outcome_unknown")

    def _end(self, code: str) -> None:
        self.said = code
        self._unknown_at_ms = None
        self._to_say.clear()

    def _write(self, message: xy.Message) -> bytes:
        self._pack_no = xy.next_pack_no(self._pack_no)
        return xy.write(message, self._pack_no, self._profile)
