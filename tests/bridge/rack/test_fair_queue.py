"""The queue of a key: each caller in turn, none without limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.rack.fair_queue import FairQueue, QueueFull


def test_a_caller_with_much_to_do_does_not_keep_others_waiting() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(3):
        queue.push("greedy", f"g{number}")
    queue.push("modest", "m0")
    queue.push("late", "l0")
    assert list(queue.drain()) == ["g0", "m0", "l0", "g1", "g2"]


def test_a_caller_cannot_jump_the_line_by_coming_back() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("a", "a0")
    queue.push("b", "b0")
    assert queue.pop() == "a0"
    queue.push("a", "a1")
    assert [queue.pop(), queue.pop()] == ["b0", "a1"]


def test_limits_are_kept_per_caller_and_in_all() -> None:
    queue: FairQueue[int] = FairQueue(per_caller=2, in_all=3)
    queue.push("a", 1)
    queue.push("a", 2)
    with pytest.raises(QueueFull):
        queue.push("a", 3)
    queue.push("b", 4)
    with pytest.raises(QueueFull):
        queue.push("c", 5)
    queue.pop()
    queue.push("c", 5)


@given(st.lists(st.one_of(st.sampled_from("abc"), st.none()), max_size=60))
def test_nothing_is_lost_and_nobody_is_passed_over_twice(steps: list[str | None]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(per_caller=100)
    pushed: list[tuple[str, int]] = []
    popped: list[tuple[str, int]] = []
    passed: dict[str, set[str]] = {}
    for number, caller in enumerate(steps):
        if caller is not None:
            queue.push(caller, (caller, number))
            pushed.append((caller, number))
        elif len(queue):
            waiting = {c for c, _ in pushed} - {
                c for c in "abc" if sum(p[0] == c for p in pushed) == sum(p[0] == c for p in popped)
            }
            item = queue.pop()
            popped.append(item)
            for other in waiting - {item[0]}:
                seen = passed.setdefault(other, set())
                assert item[0] not in seen, f"{item[0]} was served twice while {other} waited"
                seen.add(item[0])
            passed.pop(item[0], None)
    popped += queue.drain()
    assert sorted(popped) == sorted(pushed)
    for caller in "abc":
        assert [p for p in popped if p[0] == caller] == [p for p in pushed if p[0] == caller]
