"""The inbox: what a resident is told, in their language, and "this is not me"."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import event

sys.path.append(str(Path(__file__).parent.parent))

from link_world import World
from office import Office

from jishan_server.db import connect_for_writing, writing
from jishan_server.people.message_texts import TEXTS
from jishan_server.people.messages import Message, tell, text_of


def token_of(office: Office, resident: int = 0) -> dict[str, Any]:
    """What makes `Office.send` ask as a resident."""
    one = office.people.residents[resident]
    body = {"member_number": one.member_number, "pin": one.pin}
    answer = office.send("POST", "/auth/resident-token", body, as_=None)
    assert answer.status_code == 201, answer.text
    return {"as_": None, "headers": {"Authorization": f"Bearer {answer.get_json()['token']}"}}


def test_a_credit_stands_in_the_inbox_in_the_persons_own_language(both: Office) -> None:
    both.credit(0, 5)
    mine = token_of(both)
    found = both.ok("GET", "/me/messages", **mine)
    (told,) = found["items"]
    assert (told["kind"], told["read_at"], found["unread"]) == ("credit_booked", None, 1)
    assert told["text"] == "您参加“扫雪”得了5分，现在可用。不是您本人参加的，请告诉我们。"
    both.ok("PUT", "/me", {"language": "en"}, **mine)
    assert both.ok("GET", "/me/messages", **mine)["items"][0]["text"].startswith("You earned 5 points")


def test_a_message_is_read_once_and_counted_no_more(office: Office) -> None:
    office.credit(0, 5)
    mine = token_of(office)
    number = office.ok("GET", "/me/messages", **mine)["items"][0]["number"]
    first = office.ok("POST", f"/me/messages/{number}/read", **mine)
    office.tick(minutes=1)
    assert office.ok("POST", f"/me/messages/{number}/read", **mine)["read_at"] == first["read_at"] is not None
    assert office.ok("GET", "/me/messages", **mine)["unread"] == 0


def test_pages_go_from_new_to_old_and_leave_none_out(office: Office) -> None:
    for points in (1, 2, 3):
        office.credit(0, points)
    mine, path, seen = token_of(office), "/me/messages?limit=2", []
    for _ in range(2):
        found = office.ok("GET", path, **mine)
        seen += [one["fields"]["points"] for one in found["items"]]
        path = f"/me/messages?limit=2&cursor={found['next_cursor']}"
    assert seen == [3, 2, 1]
    assert found["next_cursor"] is None


def test_this_is_not_me_reaches_the_staff_and_their_words_come_back_as_a_message(both: Office) -> None:
    both.credit(0, 5)
    mine = token_of(both)
    number = both.ok("GET", "/me/messages", **mine)["items"][0]["number"]
    both.ok("POST", f"/me/messages/{number}/dispute", {"words": "那天我在外地"}, **mine)
    both.refused(409, "message_disputed", "POST", f"/me/messages/{number}/dispute", {}, **mine)
    (seen,) = both.ok("GET", "/messages/disputed")["items"]
    assert (seen["number"], seen["dispute_words"], seen["read_at"] is not None) == (number, "那天我在外地", True)
    both.refused(422, "fields_invalid", "POST", f"/messages/{number}/answer", {"words": " "})
    both.ok("POST", f"/messages/{number}/answer", {"words": "已收回，谢谢"})
    both.refused(409, "message_answered", "POST", f"/messages/{number}/answer", {"words": "x"})
    assert both.ok("GET", "/messages/disputed")["items"] == []
    assert [one["number"] for one in both.ok("GET", "/messages/disputed?is_answered=true")["items"]] == [number]
    newest = both.ok("GET", "/me/messages", **mine)["items"][0]
    assert newest["text"] == "您说“不是本人”的那条消息，工作人员答复：已收回，谢谢"


def test_nobody_reads_or_disputes_the_message_of_another(office: Office) -> None:
    office.credit(0, 5)
    number = office.ok("GET", "/me/messages", **token_of(office))["items"][0]["number"]
    other = token_of(office, 1)
    assert office.ok("GET", "/me/messages", **other) == {"items": [], "next_cursor": None, "unread": 0}
    for what in ("read", "dispute"):
        office.refused(
            404, "message_unknown", "POST", f"/me/messages/{number}/{what}", {} if what == "dispute" else None, **other
        )
    office.refused(409, "message_not_disputed", "POST", f"/messages/{number}/answer", {"words": "x"})


def test_the_desk_sees_an_inbox_and_the_look_is_noted(office: Office) -> None:
    office.credit(0, 5)
    resident = office.people.residents[0].id
    assert office.ok("GET", f"/residents/{resident}/messages")["items"][0]["read_at"] is None
    seen = office.ok("GET", "/me/accesses", **token_of(office))["items"]
    assert "messages" in [one["what"] for one in seen]


def test_an_item_that_came_out_is_told_too(office: Office) -> None:
    office.credit(0, 9)
    world = World(office.parts.engine)
    world.now = office.now
    box = world.machine()
    box.dispense(box.vend())
    world.close()
    told = office.ok("GET", f"/residents/{office.people.residents[0].id}/messages")["items"][0]
    assert told["kind"] == "redemption_done"
    assert told["text"].startswith(f"您用{told['fields']['points']}分换了“{told['fields']['product_zh']}”。")
    assert told["fields"]["product_zh"]


def test_who_is_made_anonymous_leaves_no_words_in_the_inbox(office: Office) -> None:
    office.credit(0, 5)
    resident, mine = office.people.residents[0].id, token_of(office)
    number = office.ok("GET", "/me/messages", **mine)["items"][0]["number"]
    office.ok("POST", f"/me/messages/{number}/dispute", {"words": "我叫王建华"}, **mine)
    body = {"reason": "asked", "cannot_be_undone": True}
    office.ok("POST", f"/residents/{resident}/erase", body, as_="admin")
    (told,) = office.ok("GET", f"/residents/{resident}/messages", as_="admin")["items"]
    assert (told["dispute_words"], told["fields"]) == (None, {})
    assert "—" in told["text"]


def test_every_text_is_whole_without_its_fields_and_in_two_languages() -> None:
    for kind in TEXTS:
        for language in ("zh", "en"):
            assert text_of(kind, None, language)
            assert text_of(kind, json.dumps({"points": None}), language)


def test_many_messages_are_one_statement(office: Office) -> None:
    statements: list[str] = []
    resident = office.people.residents[0].id
    with writing(office.parts.engine) as connection:
        event.listen(connection, "before_cursor_execute", lambda *found: statements.append(found[2]))
        tell(connection, office.now, [Message(resident, "credit_booked", {"points": 1, "activity": "x"})] * 500)
    assert len(statements) == 1


def test_receipts_of_a_batch_read_nothing_but_new_products(office: Office) -> None:
    office.credit(0, 9)
    world = World(office.parts.engine)
    world.now = office.now
    box = world.machine()
    first = box.vend()
    box.dispense(first)
    world.close()
    from jishan_server.vending.model import read_redemptions
    from jishan_server.vending.telling import DONE, tell_turns

    statements: list[str] = []
    with connect_for_writing(office.parts.engine) as connection, connection.begin():
        one = read_redemptions(connection, [first])[first]
        event.listen(connection, "before_cursor_execute", lambda *found: statements.append(found[2].split()[0]))
        tell_turns(connection, [(DONE, one)] * 100, office.now)
        tell_turns(connection, [(DONE, one)] * 100, office.now)
    assert statements == ["SELECT", "INSERT", "INSERT"]
