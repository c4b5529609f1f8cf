"""The code on a machine's screen, the code on a resident's phone, and what a credential may be."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from jishan_protocol.errors import ProtocolError
from jishan_protocol.personal_codes import DIGITS, code_of, is_member_number, read_code
from jishan_protocol.screen_codes import AHEAD_S, FORM, OPENED_WITHIN_S, made_at, screen_code
from jishan_protocol.sealing import Credential, open_credential, seal_credential

KEY = bytes(range(32))
NOW_S = 1_790_000_000


def test_a_screen_code_is_the_published_one() -> None:
    assert screen_code(KEY, "a1b2c3d4", NOW_S) == "co4a7hlz3s5s426h"


@pytest.mark.parametrize("late_s", [-AHEAD_S, 0, 1, 59, OPENED_WITHIN_S])
@pytest.mark.parametrize("now_s", [NOW_S, 2**20 - 1, 2**20, 1708 * 2**20, 1708 * 2**20 + 3])
def test_a_screen_code_tells_when_it_was_made(late_s: int, now_s: int) -> None:
    code = screen_code(KEY, "tag", now_s)
    assert FORM.fullmatch(code)
    assert made_at(KEY, "tag", code, now_s + late_s) == now_s


@pytest.mark.parametrize("late_s", [-AHEAD_S - 1, OPENED_WITHIN_S + 1, 2**20, -3600])
def test_a_screen_code_that_is_too_old_or_of_the_future_is_none(late_s: int) -> None:
    assert made_at(KEY, "tag", screen_code(KEY, "tag", NOW_S), NOW_S + late_s) is None


def test_a_screen_code_is_of_one_machine_and_one_connection() -> None:
    code = screen_code(KEY, "tag", NOW_S)
    assert made_at(KEY, "other", code, NOW_S) is None
    assert made_at(bytes(32), "tag", code, NOW_S) is None
    for place in range(16):
        changed = "a" if code[place] != "a" else "b"
        assert made_at(KEY, "tag", code[:place] + changed + code[place + 1 :], NOW_S) is None
    for wrong in ("", code[:-1], code + "a", code.upper(), "0" * 16, "ａ" * 16):
        assert made_at(KEY, "tag", wrong, NOW_S) is None


def test_a_personal_code_is_read_alone_and_in_its_address() -> None:
    code = code_of(bytes(range(1, 33)))
    assert re.fullmatch(rf"[0-9]{{{DIGITS}}}", code)
    assert code_of(bytes(16)) == "0" * DIGITS
    for scanned in (code, f" {code}\t", f"https://jishan.example/p/{code}", f"http://127.0.0.1:8080/p/{code}"):
        assert read_code(scanned) == code
    for scanned in ("", code[:-1], code + "0", f"https://jishan.example/m/{code}", "6901234567892", "１" * DIGITS):
        assert read_code(scanned) is None


def test_a_member_number_is_told_from_a_mistyped_one() -> None:
    assert is_member_number("10000012")
    assert [is_member_number(f"1000001{last}") for last in "0123456789"].count(True) == 1
    assert not is_member_number("1000001")
    assert not is_member_number("１０００００１２")


@pytest.mark.parametrize("kind", ["card", "member", "code", "claim"])
def test_a_credential_of_each_kind_is_sealed_and_opened_and_never_printed(kind: str) -> None:
    credential = Credential(**{kind: "10000012"})
    sealed = seal_credential(KEY, "r1", credential, bytes(12))
    assert open_credential(KEY, "r1", sealed) == credential
    assert "10000012" not in repr(credential)
    assert kind in repr(credential)


@pytest.mark.parametrize(
    "credential",
    [
        Credential(),
        Credential(pin="1234"),
        Credential(code="1", pin="1234"),
        Credential(claim="1", pin="1234"),
        *(Credential(**dict.fromkeys(pair, "1")) for pair in combinations(("card", "member", "code", "claim"), 2)),
    ],
)
def test_a_credential_is_one_thing(credential: Credential) -> None:
    sealed = seal_credential(KEY, "r1", credential, bytes(12))
    with pytest.raises(ProtocolError) as refused:
        open_credential(KEY, "r1", sealed)
    assert refused.value.reason == "bad_credential"
