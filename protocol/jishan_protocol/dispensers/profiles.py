"""Profiles: what differs from firmware to firmware, and how an operator's own words about it are read.

Every codec has a frozen dataclass of settings with a `name`, and a table of built-in ones with a `default`. An operator
may change a built-in one, or make a new one that is like another. What is no setting, or no value of it, is refused by
its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

from jishan_protocol.errors import JishanError

LIKE: Final = "like"
"""In an operator's words: the built-in profile that this one begins as. Else the one of its own name, or `default`."""


class ProfileError(JishanError):
    """A profile that is none; the message names the setting and says why."""


class Profile(Protocol):
    """What every profile has. The rest is the codec's own."""

    @property
    def name(self) -> str: ...


P = TypeVar("P", bound=Profile)


def chosen(known: Mapping[str, P], name: str, own: Mapping[str, object] | None = None) -> P:
    """The profile called `name`: a built-in one, with an operator's `own` settings of it if there are any.

    ProfileError where there is no such profile or setting, or a value does not fit.
    """
    if own is None:
        return _known(known, name)
    like = own.get(LIKE, name if name in known else "default")
    if not isinstance(like, str):
        raise ProfileError(f"{LIKE}: {like!r} is not text")
    profile = _known(known, like)
    changes = {setting: value for setting, value in own.items() if setting != LIKE}
    kinds = {one.name: get_type_hints(type(profile))[one.name] for one in _settings(profile)}
    for setting, value in changes.items():
        if setting not in kinds:
            raise ProfileError(f"{setting}: there is no such setting; there are {', '.join(sorted(kinds))}")
        if (wrong := _wrong(kinds[setting], value)) is not None:
            raise ProfileError(f"{setting}: {value!r} is {wrong}")
    try:
        renamed: dict[str, Any] = {"name": name}
        return dataclasses.replace(profile, **renamed | changes)  # type: ignore[type-var]
    except ValueError as error:
        raise ProfileError(str(error)) from None


def check_range(profile: Profile, setting: str, least: int, most: int) -> None:
    """For a profile's `__post_init__`. ValueError names a number that is out of its range."""
    value = getattr(profile, setting)
    if not least <= value <= most:
        raise ValueError(f"{setting}: {value} is not from {least} to {most}")


def _known(known: Mapping[str, P], name: str) -> P:
    if name not in known:
        raise ProfileError(f"there is no {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def _settings(profile: Profile) -> list[dataclasses.Field[Any]]:
    assert dataclasses.is_dataclass(profile), "a profile is a dataclass"
    return [one for one in dataclasses.fields(profile) if one.name != "name"]


def _wrong(kind: Any, value: object) -> str | None:
    """What is wrong with a value for a setting of this kind; other kinds are checked by the profile itself."""
    if get_origin(kind) is Literal:
        is_one = any(value == one and type(value) is type(one) for one in get_args(kind))
        return None if is_one else f"none of {', '.join(map(repr, get_args(kind)))}"
    words = {bool: "neither true nor false", int: "not a whole number", str: "not text"}.get(kind)
    return words if words is not None and type(value) is not kind else None
