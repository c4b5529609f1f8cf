"""One identity for each card, and credentials that a broker cannot read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_protocol.cards import ReaderProfile, mistaken_forms, normalise, read_uid, reversed_uid
from jishan_protocol.errors import ProtocolError
from jishan_protocol.sealing import Credential, card_hash, open_credential, seal_credential

KEY = b"machine key".ljust(32, b"!")
NONCE = bytes(12)


@pytest.mark.parametrize(
    ("printed", "profile", "uid"),
    [
        ("0007625328", ReaderProfile("decimal10"), "00745A70"),
        ("116,23152", ReaderProfile("3+5"), "00745A70"),
        ("11623152", ReaderProfile("3+5"), "00745A70"),
        ("07625328", ReaderProfile("decimal8"), "00745A70"),
        ("1904649758", ReaderProfile("decimal10"), "7186A61E"),
        ("1EA68671", ReaderProfile("hex", reversed=True), "7186A61E"),
        ("04:a1:b2:c3:d4:e5:f6", ReaderProfile("hex", length=7), "04A1B2C3D4E5F6"),
    ],
)
def test_desk_and_machine_give_a_card_the_same_identity(printed: str, profile: ReaderProfile, uid: str) -> None:
    assert read_uid(printed, profile) == uid


@pytest.mark.parametrize(
    ("printed", "profile"),
    [
        ("", ReaderProfile()),
        ("12345", ReaderProfile()),
        ("GG745A70", ReaderProfile()),
        ("00745A70", ReaderProfile(length=7)),
        ("4294967296", ReaderProfile("decimal10")),
        ("256,00001", ReaderProfile("3+5")),
        ("001,65536", ReaderProfile("3+5")),
    ],
)
def test_what_is_no_card_in_this_profile_is_refused(printed: str, profile: ReaderProfile) -> None:
    with pytest.raises(ProtocolError, match="bad_card"):
        read_uid(printed, profile)


def test_a_card_seen_by_a_wrongly_set_reader_can_be_recognised_as_such() -> None:
    assert reversed_uid("7186A61E") in mistaken_forms("7186A61E")
    # "0007625328" is ten digits; a reader set to hex of five bytes takes them for the bytes themselves.
    assert "00745A70" in mistaken_forms("0007625328")


def test_hex_of_a_uid_is_accepted_as_people_type_it() -> None:
    assert normalise(" 00 74-5a:70 ") == "00745A70"


@given(st.text(min_size=1, max_size=30), st.none() | st.text(min_size=1, max_size=8))
def test_a_sealed_credential_opens_only_for_its_own_redemption(member: str, pin: str | None) -> None:
    credential = Credential(member=member, pin=pin)
    sealed = seal_credential(KEY, "r1", credential, NONCE)
    assert open_credential(KEY, "r1", sealed) == credential
    for key, redemption_id in ((KEY, "r2"), (b"other key".ljust(32), "r1")):
        with pytest.raises(ProtocolError, match="bad_credential"):
            open_credential(key, redemption_id, sealed)


@pytest.mark.parametrize("sealed", ["", "a", "====", "é", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"])
def test_what_is_no_sealed_credential_is_refused(sealed: str) -> None:
    with pytest.raises(ProtocolError, match="bad_credential"):
        open_credential(KEY, "r1", sealed)


@pytest.mark.parametrize("credential", [Credential(), Credential(card="00745A70", member="1")])
def test_a_credential_is_a_card_or_a_member_number_and_not_both(credential: Credential) -> None:
    with pytest.raises(ProtocolError, match="bad_credential"):
        open_credential(KEY, "r1", seal_credential(KEY, "r1", credential, NONCE))


def test_a_credential_does_not_show_itself_in_a_log() -> None:
    assert "1234" not in repr(Credential(member="100017", pin="1234"))
    assert "00745A70" not in f"{Credential(card='00745A70')}"


def test_a_card_hash_says_nothing_without_its_key() -> None:
    assert card_hash(KEY, "00745A70") != card_hash(b"other", "00745A70")
    assert len(card_hash(KEY, "00745A70")) == 32
