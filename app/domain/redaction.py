"""Cutting PINs out of what Seam sends, before anything is kept (contract, section 9).

A PIN stands in ``code`` and its like, in both sides of a change of the PIN, and in free text. The first pass cuts those
places and learns the PINs found there; the second cuts every other occurrence of a learned PIN, also in names, numbers,
custom metadata and keys. Ids, times and error codes survive: they are what the payload is kept for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple

CUT: Final = "•••"
DEEPEST = 64  # what is nested deeper is cut as a whole
MOST_PINS = 32  # a payload that holds more loses all of its unprotected text
_SHORTEST_LEARNED, _LONGEST_LEARNED = 3, 64

_RUN = re.compile(r"\d{4,}")
_JUST_DIGITS = re.compile(r"\s*\d{4,12}\s*")
_DIGIT = re.compile(r"\d")
_SEPARATORS = " \t-_./:,()#*"
_SEPARATING = _SEPARATORS.encode()
_CUT_OR_SEPARATING = CUT.encode() + _SEPARATING
_ALL_SEPARATING = re.compile(rf"[\s{re.escape(_SEPARATORS)}]+")
_BACKSLASH = ord("\\")
_UNSEPARATE = str.maketrans("", "", _SEPARATORS)
_SPREAD = re.compile(rf"\d(?:[\s{re.escape(_SEPARATORS)}]{{0,3}}\d){{2,}}")
_ID_OR_TIME = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?"
)

_PIN_NAMES = frozenset(
    {"code", "pin", "pincode", "passcode", "keypadcode", "doorcode", "entrycode", "usercode", "guestcode", "guestpin"}
    | {"newcode", "oldcode", "originalcode", "generatedcode", "accesspin", "unlockcode"}
)
_PIN_ENDINGS = ("code", "codes", "pin", "pins", "passcodes", "pincodes")
_TEXT_NAMES = frozenset({"detail", "details", "note", "notes", "comment", "comments", "title", "text", "subject"})
_ID_ENDINGS = ("_id", "_ids", "_at")
_OUR_IDS = frozenset(
    {"event_id", "event_type", "workspace_id", "access_code_id", "device_id", "connected_account_id"}
    | {"backup_access_code_id"}
)
_WORD = re.compile(r"[a-z]+(?:[._](?:[a-z]+|\d{1,2}))*")
_WORDS = frozenset({"error_code", "warning_code", "mutation_code", "reason_code", "property", "field", "method"})
_SIDES = frozenset({"from", "to", "old", "new", "value", "previous", "current", "from_value", "to_value"})

_CHANGES_OF_NAME = frozenset({"name", "updating_name", "access_code.name_changed"})

_HUGE = 2**63
Encode = Callable[[dict[str, Any]], bytes]
_spell = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def encode_json(payload: dict[str, Any]) -> bytes:
    return _spell(payload).encode("utf-8", "surrogatepass")


class Redacted(NamedTuple):
    """``payload`` without its PINs, ``text`` the same as JSON; ``pins``: what was cut, in clear, for memory only.
    ``may_be_rounded``: a float beyond 64 bits is in it, as which some readers of JSON hand over whole numbers."""

    payload: dict[str, Any]
    text: str
    pins: set[str]
    may_be_rounded: bool


def redact(payload: Mapping[str, Any], *, is_strict: bool = False, encode: Encode = encode_json) -> Redacted:
    """A copy of a JSON object without PINs; each is cut to ``•••``. Never raises, whatever JSON holds, if
    ``encode`` does not.

    ``is_strict`` is for objects of an unknown form: there whatever is just 4 to 12 digits counts as a PIN.
    """
    learner = _Learner(is_strict)
    cut = learner.mapping(payload, 0)
    data = encode(cut)
    if learner.pins and _mentions(data, learner.pins):
        cut = _Sweeper(learner.pins).mapping(cut, is_top=True)
        data = encode(cut)
    return Redacted(cut, data.decode("utf-8", "surrogatepass"), learner.pins, learner.may_be_rounded)


def redact_text(text: str, pins: Iterable[str] = ()) -> str:
    """Free text without the given PINs (however separated) and without any run of four or more digits."""
    return _RUN.sub(CUT, cut_pins(text, pins))


def cut_pins(text: str, pins: Iterable[str]) -> str:
    """A name without the given PINs, however separated. Its other numbers stay: it may say "Room 1204"."""
    return _without(text, sorted((pin for pin in pins if len(pin) >= _SHORTEST_LEARNED), key=len, reverse=True))


class _Kind(Enum):
    """What a key says about its value."""

    PIN = auto()  # a PIN, whatever it looks like
    CODE = auto()  # a PIN if it looks like one: error_code, country_code, access_codes
    TEXT = auto()  # sentences, in which a PIN may stand
    ID = auto()  # an id or a time
    OTHER = auto()


@lru_cache(maxsize=4096)
def _kind_of(key: str) -> _Kind:
    lower = key.lower()
    bare = lower.replace("_", "").replace("-", "").replace(" ", "")
    if bare in _PIN_NAMES:
        return _Kind.PIN
    if bare.endswith(_PIN_ENDINGS):
        return _Kind.CODE
    if lower == "event_type" or lower.endswith(_ID_ENDINGS):
        return _Kind.ID
    if "message" in bare or "description" in bare or bare.endswith("reason") or bare in _TEXT_NAMES:
        return _Kind.TEXT
    return _Kind.OTHER


_PIN, _CODE, _TEXT, _ID, _OTHER = _Kind
_NEVER_CUT = (type(None), bool)


@dataclass(frozen=True, slots=True)
class _Form:
    """What the keys of an object and the types of its values tell. Payloads come in a few forms, again and again."""

    objects: tuple[str, ...]  # keys of objects that have to be looked through
    suspects: tuple[tuple[str, _Kind], ...]  # keys of other values that have to be looked at
    has_sides: bool


@lru_cache(maxsize=1024)
def _form_of(
    keys: tuple[str, ...], types: tuple[type, ...], is_strict: bool, kind_of_sides: _Kind | None = None
) -> _Form:
    kinds = {key: kind_of_sides if kind_of_sides and key in _SIDES else _kind_of(key) for key in keys}
    plain = (_ID,) if is_strict else (_ID, _OTHER)
    objects, suspects = [], []
    for (key, kind), of in zip(kinds.items(), types, strict=True):
        if of is dict and kind not in (_PIN, _TEXT):
            objects.append(key)
        elif of not in _NEVER_CUT and not (of is str and kind in plain):
            suspects.append((key, kind))
    return _Form(tuple(objects), tuple(suspects), has_sides=not _SIDES.isdisjoint(keys))


class _Learner:
    """The first pass: cuts the places where PINs belong, and remembers what stood there."""

    __slots__ = ("_is_strict", "may_be_rounded", "pins")

    def __init__(self, is_strict: bool) -> None:
        self._is_strict = is_strict
        self.pins: set[str] = set()
        self.may_be_rounded = False

    def mapping(self, source: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if not source:
            return {}
        keys, types = tuple(source), tuple(map(type, source.values()))
        form = _form_of(keys, types, self._is_strict)
        if form.has_sides:
            form = _form_of(keys, types, self._is_strict, _kind_of_sides(source))
        result = dict(source)
        for key in form.objects:
            result[key] = self.mapping(result[key], depth + 1) if depth < DEEPEST else CUT
        for key, kind in form.suspects:
            result[key] = self._value(result[key], kind, depth + 1)
        return result

    def _value(self, value: object, kind: _Kind, depth: int) -> object:
        if isinstance(value, str):
            return self._text(value, kind)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return self._number(value, kind)
        return CUT if depth > DEEPEST else self._nested(value, kind, depth)

    def _nested(self, value: object, kind: _Kind, depth: int) -> object:
        if isinstance(value, dict):
            if kind is _PIN:
                return self._all_pins(value, depth)
            return self._all_texts(value, depth) if kind is _TEXT else self.mapping(value, depth)
        if isinstance(value, (list, tuple)):
            return [self._value(item, kind, depth + 1) for item in value]
        return CUT

    def _text(self, text: str, kind: _Kind) -> str:
        if kind is _PIN:
            self._learn(text)
            return CUT if text else text
        if kind is _TEXT:
            return _RUN.sub(CUT, text)
        is_pin = (kind is _CODE and _looks_like_pin(text)) or (
            kind is _OTHER and self._is_strict and _JUST_DIGITS.fullmatch(text) is not None
        )
        if is_pin:
            self._learn(text)
            return CUT
        return text

    def _number(self, number: float, kind: _Kind) -> object:
        if not abs(number) < math.inf:
            return None  # JSON has no word for NaN and the infinities
        is_huge = abs(number) >= _HUGE
        self.may_be_rounded |= is_huge and isinstance(number, float)
        digits = str(int(number) if number == int(number) else number)
        looks_like_pin = _JUST_DIGITS.fullmatch(digits) is not None
        if kind is _PIN or (looks_like_pin and (kind is _CODE or (kind is _OTHER and self._is_strict))):
            self._learn(digits)
            return CUT
        if looks_like_pin and kind is _TEXT:
            return CUT
        # Readers of JSON differ beyond 64 bits: as text such a number reaches them whole.
        return digits if is_huge and isinstance(number, int) else number

    def _all_pins(self, source: Mapping[str, Any], depth: int) -> dict[str, Any]:
        for key in source:
            if _JUST_DIGITS.fullmatch(key):
                self._learn(key)
        return {key: self._value(value, _PIN, depth + 1) for key, value in source.items()}

    def _all_texts(self, source: Mapping[str, Any], depth: int) -> dict[str, Any]:
        kinds = {key: _TEXT if _kind_of(key) is _OTHER else _kind_of(key) for key in source}
        return {key: self._value(value, kinds[key], depth + 1) for key, value in source.items()}

    def _learn(self, text: str) -> None:
        stripped = text.strip()
        for pin in (stripped,) if stripped.isalnum() else (stripped, stripped.translate(_UNSEPARATE)):
            if _SHORTEST_LEARNED <= len(pin) <= _LONGEST_LEARNED and (len(pin) > 3 or _DIGIT.search(pin)):
                self.pins.add(pin)


class _Sweeper:
    """The second pass: cuts what was learned, wherever else it stands."""

    __slots__ = ("_everything", "_pins")

    def __init__(self, pins: set[str]) -> None:
        self._pins = sorted(pins, key=len, reverse=True)  # "48213" before the "4821" inside it
        self._everything = len(pins) > MOST_PINS

    def mapping(self, source: Mapping[str, Any], *, is_top: bool = False) -> dict[str, Any]:
        return {
            self._key(key): value if is_top and key in _OUR_IDS else self._value(value, key)
            for key, value in source.items()
        }

    def _key(self, key: str) -> str:
        return self._text(key) if _DIGIT.search(key) else key

    def _value(self, value: object, key: str) -> object:
        if isinstance(value, str):
            return value if _is_protected(key, value) else self._text(value)
        if isinstance(value, dict):
            return self.mapping(value)
        if isinstance(value, list):
            return [self._value(item, key) for item in value]
        if value is None or isinstance(value, bool):
            return value
        digits = str(value)
        return CUT if self._text(digits) != digits else value

    def _text(self, text: str) -> str:
        return CUT if self._everything else _without(text, self._pins)


def _kind_of_sides(source: Mapping[str, Any]) -> _Kind | None:
    """What ``from`` and ``to`` of this object are if it is an entry of ``changed_properties``, ``modified_fields``,
    ``requested_mutations`` or ``pending_mutations``: PINs, or names, in which people write the PIN."""
    name = source.get("property") or source.get("field") or source.get("mutation_code") or source.get("event_type")
    if not isinstance(name, str):
        return None
    if name.endswith("code_changed") or _kind_of(name) in (_PIN, _CODE):
        return _PIN
    return _TEXT if name in _CHANGES_OF_NAME else None


def _looks_like_pin(text: str) -> bool:
    return _JUST_DIGITS.fullmatch(text.translate(_UNSEPARATE)) is not None


def _is_protected(key: str, text: str) -> bool:
    return _ID_OR_TIME.fullmatch(text) is not None or (key in _WORDS and _WORD.fullmatch(text) is not None)


def _mentions(data: bytes, pins: set[str]) -> bool:
    """Whether JSON may hold one of the PINs. Only a quick look: it may be wrong when it says yes."""
    if len(pins) > MOST_PINS or _BACKSLASH in data:
        return True
    bare = data.translate(None, _CUT_OR_SEPARATING)
    if not bare.isascii():  # there are other spaces in Unicode
        bare = _ALL_SEPARATING.sub("", data.decode("utf-8", "surrogatepass")).encode("utf-8", "surrogatepass")
    for pin in pins:  # noqa: SIM110 - on every delivery: a generator costs as much as the search
        # By find: "in" first asks whether the PIN is a number, and takes an exception for the answer.
        if not pin.isascii() or bare.find(pin.encode().translate(None, _SEPARATING)) >= 0:
            return True
    return False


def _without(text: str, pins: list[str]) -> str:
    """``text`` without the PINs, also where their digits are set apart ("48-21")."""
    for pin in pins:
        if pin in text:
            text = text.replace(pin, CUT)
    return _SPREAD.sub(lambda spread: _without_spread(spread.group(), pins), text) if pins else text


def _without_spread(spread: str, pins: list[str]) -> str:
    positions = [position for position, character in enumerate(spread) if character.isdecimal()]
    digits = "".join(spread[position] for position in positions)
    cuts = bytearray(len(spread))  # 1: belongs to a PIN
    for pin in pins:
        begin = digits.find(pin)
        while begin >= 0:
            first, last = positions[begin], positions[begin + len(pin) - 1]
            cuts[first : last + 1] = b"\x01" * (last + 1 - first)
            begin = digits.find(pin, begin + 1)
    return "".join(
        CUT if is_cut else "".join(character for character, _ in run)
        for is_cut, run in groupby(zip(spread, cuts, strict=True), key=lambda pair: pair[1])
    )
