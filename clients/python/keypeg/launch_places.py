"""What is said of each kind of place where a license could be used: how, or honestly why not.

Promises: pure; each reason is a clause that tells what a person could do, where they can do something.

Leaves to others: which places would help (launch_survey), the questions (launch_words).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from keypeg.launch_steps import Place
from keypeg.launch_survey import Owned, Survey

CALLED: Final = {
    "cloud": "The cloud",
    "key": "A USB key",
    "host": "This computer",
    "site": "Shared seats",
}
SHOWN: Final = 3  # places that a sentence names


def places(survey: Survey) -> tuple[Place, ...]:
    """Each kind of place, the usable ones first; shared seats where they are allowed at all."""
    if survey.is_blind:
        return ()
    found = [_cloud(survey), _key(survey), _host(survey)]
    if any("site" in one.allowed for one in survey.licenses):
        found.append(_site(survey))
    return tuple(sorted(found, key=lambda one: not one.usable))


def _why_not(survey: Survey, kind: str, location: str = "") -> str:
    """Why no license can come to this kind of place, or to this place; empty when one can."""
    if not survey.licenses:
        return "your account has no license for it"
    if not survey.usable:
        states = sorted({one.state for one in survey.licenses})
        return f"your license is {' or '.join(states)}"
    named = [one for one in survey.usable if kind in one.allowed]
    if not named:
        return "its publisher does not allow it"
    allowed = [one for one in named if one.may_go(kind)]
    if not allowed:
        return (
            "a license without seats to share can not live there"
            if kind == "site"
            else "its seats are shared by the server, and live nowhere else"
        )

    def there(one: Owned) -> bool:
        return one.lives_on(location) if kind in ("key", "host") else one.is_at(kind)

    if not any(one.has_free or there(one) for one in allowed):
        count = sum(one.activation_count for one in allowed)
        where = [used.called for one in allowed for used in one.used]
        return f"all activations ({count}) are in use: {_listed(where)}"
    return ""


def _cloud(survey: Survey) -> Place:
    reason = _why_not(survey, "cloud")
    if not reason and survey.is_here:
        if survey.to_put is None:
            reason = "the cloud session is open here, but does not open it"
        else:
            return _place("cloud", True, "put it there: the cloud session is open here")
    if reason:
        return _place("cloud", False, reason)
    where = f"open on {survey.cloud.host_name}" if survey.cloud.is_open else "closed"
    return _place("cloud", True, f"the cloud session is {where}")


def _key(survey: Survey) -> Place:
    if found := survey.onto_key:
        key, owned = found
        there = owned.lives_on(key.location)
        says = f"{key.called}: it belongs there" if there else f"{key.called} is plugged in"
        return _place("key", True, says)
    if reason := _why_not(survey, "key", _first_location(survey)):
        return _place("key", False, reason)
    if survey.keys is None:
        return _place("key", False, "no keypeg-bridge runs on this computer; start it")
    if not survey.keys:
        return _place("key", False, "none is plugged in")
    if broken := [one for one in survey.keys if one.problem]:
        return _place("key", False, f"{broken[0].called}: {broken[0].problem}")
    ours = [one for one in survey.keys if one.location]
    if ours:
        return _place("key", False, f"{_listed(one.called for one in ours)} has no room for more")
    called = _listed(one.called for one in survey.keys)
    if any(one.enrolled for one in survey.keys):
        return _place("key", False, f"{called} is not enrolled at your account")
    return _place("key", False, f"{called} is not enrolled; enroll it with `keypeg key enroll`")


def _first_location(survey: Survey) -> str:
    return next((one.location for one in survey.keys or () if one.location), "")


def _host(survey: Survey) -> Place:
    host = survey.host
    if reason := _why_not(survey, "host", host.location):
        return _place("host", False, reason)
    if host.problem:
        return _place("host", False, host.problem)
    return _place("host", True, "it works here without a connection then")


def _site(survey: Survey) -> Place:
    if reason := _why_not(survey, "site"):
        return _place("site", False, reason)
    if any(one.is_at("site") for one in survey.usable):
        return _place("site", True, "its seats are shared by the server")
    return _place("site", False, "an administrator activates it at the server first")


def _place(kind: str, usable: bool, says: str) -> Place:
    return Place(kind, CALLED[kind], usable, says)


def _listed(words: Iterable[str]) -> str:
    """Some words as a list; of many, the first ones and how many more."""
    found = list(dict.fromkeys(words))
    more = [f"{len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return ", ".join(found[:SHOWN] + more) or "nowhere"
