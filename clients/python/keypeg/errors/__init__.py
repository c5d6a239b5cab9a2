"""Everything for which keypeg refuses: one list of reasons, one class for each.

Promises: there is exactly one class per reason, named as it in CamelCase, and here is where programs import it from.
Imports neither grpc nor protobuf.

Leaves to others: the sentences, which the one who raises writes (what, which, and what to do next), and
the way over the wire (status.py).
"""

from __future__ import annotations

# ruff: noqa: F403 - every class of these modules, and the tests compare them with the list
from keypeg.errors.calls import *
from keypeg.errors.licenses import *
from keypeg.errors.people import *
from keypeg.errors.proofs import *
from keypeg.errors.refusal import KeypegError as KeypegError
from keypeg.errors.refusal import Reason as Reason
from keypeg.errors.refusal import error_class as error_class


def _class_name(reason: Reason) -> str:
    return "".join(word.capitalize() for word in reason.name.split("_"))


assert {reason: _class_name(reason) for reason in Reason} == {
    reason: error_class(reason).__name__ for reason in Reason
}, "every reason has its class, named as it"
