"""Whether a computer is still the same one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg import fingerprint
from keypeg.errors import DocumentMalformed, DocumentOtherDevice, FieldInvalid
from keypeg.v1.document_pb2 import HostFingerprint

SALT = bytes(range(16))
HERE = {"machine_id": "4c1de0ff", "board": "SN-5512", "disk": "WD-77", "mac": "02:42:ac:11:00:02"}


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"disk": "new"}, True),
        ({"disk": None}, True),
        ({"extra": "more"}, True),
        ({"disk": "new", "mac": "new one"}, False),
        ({"disk": None, "mac": None}, False),
        ({"board": "  sn-5512 "}, True),
    ],
    ids=["the same", "one changed", "one gone", "one more", "two changed", "two gone", "retyped"],
)
def test_one_part_of_four_may_change(changed: dict[str, str | None], same: bool) -> None:
    made = fingerprint.make(HERE, SALT)
    now = {kind: value for kind, value in {**HERE, **changed}.items() if value is not None}
    assert fingerprint.match(made, now).enough is same
    if not same:
        with pytest.raises(DocumentOtherDevice) as refused:
            fingerprint.check(made, now)
        assert refused.value.metadata["changed"] == "disk,mac"


@pytest.mark.parametrize(
    ("count", "required"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (9, 6)]
)
def test_two_thirds_are_required(count: int, required: int) -> None:
    assert fingerprint.required_of(count) == required


def test_a_publisher_may_require_more_or_less() -> None:
    assert fingerprint.match(fingerprint.make(HERE, SALT, 1), {"mac": HERE["mac"]}).enough
    strict = fingerprint.make(HERE, SALT, 4)
    assert not fingerprint.match(strict, {**HERE, "mac": "new one"}).enough


def test_a_document_shows_no_part_and_no_two_documents_show_the_same() -> None:
    one = fingerprint.make(HERE, SALT)
    other = fingerprint.make(HERE, SALT[::-1])
    assert not any(value.encode() in one.SerializeToString() for value in HERE.values())
    assert not {c.digest for c in one.components} & {c.digest for c in other.components}


def test_a_value_of_one_kind_is_not_taken_for_another() -> None:
    made = fingerprint.make({"disk": "WD-77"}, SALT)
    assert not fingerprint.match(made, {"board": "WD-77"}).enough


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "None",
        "To be filled  by O.E.M.",
        "00:00:00:00:00:00",
        "FFFF-FFFF",
        "Default string",
    ],
)
def test_what_tells_no_computers_apart_is_left_out(value: str) -> None:
    assert fingerprint.usable({"board": value}) == {}
    with pytest.raises(FieldInvalid):
        fingerprint.make({"board": value}, SALT)


@pytest.mark.parametrize("required", [0, -1, 5])
def test_a_fingerprint_that_could_not_match_or_always_would_is_not_made(required: int) -> None:
    with pytest.raises(FieldInvalid):
        fingerprint.make(HERE, SALT, required)


def test_a_kind_of_other_characters_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        fingerprint.make({"Disk 1": "WD-77"}, SALT)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_salt_of_another_length_is_a_mistake_of_the_program(length: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        fingerprint.make(HERE, bytes(length))


def test_no_more_than_sixteen_parts_are_taken() -> None:
    values = {f"disk_{number}": f"WD-{number}" for number in range(17)}
    made = fingerprint.make(values, SALT)
    assert [one.kind for one in made.components] == list(values)[:16]
    made.components.add(kind="disk_16", digest=fingerprint.digest(SALT, "disk_16", "WD-16"))
    with pytest.raises(DocumentMalformed):
        fingerprint.check(made, values)


def test_a_check_that_passes_says_which_parts_have_changed() -> None:
    found = fingerprint.check(fingerprint.make(HERE, SALT), {**HERE, "disk": "new"})
    assert found == fingerprint.Match(("machine_id", "board", "mac"), ("disk",), 3)


def broken(**changed: object) -> HostFingerprint:
    made = fingerprint.make(HERE, SALT)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def without_parts() -> HostFingerprint:
    made = broken()
    del made.components[:]
    return made


def with_a_kind_twice() -> HostFingerprint:
    made = fingerprint.make(HERE, SALT, 2)
    made.components.append(made.components[0])
    return made


@pytest.mark.parametrize(
    "made",
    [
        HostFingerprint(),
        broken(required_count=0),
        broken(required_count=5),
        broken(salt=b""),
        without_parts(),
        with_a_kind_twice(),
    ],
    ids=["empty", "none required", "more required", "no salt", "no parts", "a kind twice"],
)
def test_a_fingerprint_that_fits_any_computer_is_malformed(made: HostFingerprint) -> None:
    with pytest.raises(DocumentMalformed):
        fingerprint.check(made, HERE)


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=300), max_size=20))
def test_any_values_of_a_computer_are_compared(values: dict[str, str]) -> None:
    assert not fingerprint.match(fingerprint.make(HERE, SALT, 4), values).enough


@given(st.text(max_size=400))
def test_cleaning_twice_is_cleaning_once(value: str) -> None:
    assert len(fingerprint.clean(value)) <= fingerprint.VALUE_CHARACTERS
    once = fingerprint.clean(value)
    assert fingerprint.digest(SALT, "disk", once) == fingerprint.digest(SALT, "disk", value)
