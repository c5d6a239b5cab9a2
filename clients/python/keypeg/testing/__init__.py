"""For the tests of apps: a location host that does what the test says, and a clock that stands still.

Promises: `StandInHost` is a real server with real signatures of a publisher of its own; an app's code runs
unchanged against it. Nothing here trusts or touches a real publisher's root.

Leaves to others: the app's own fakes.
"""

from __future__ import annotations

from keypeg.testing.clock import FakeClock, FakeTimer
from keypeg.testing.host import StandInHost
from keypeg.testing.pool import Terms
from keypeg.testing.publisher import StandInPublisher

__all__ = ["FakeClock", "FakeTimer", "StandInHost", "StandInPublisher", "Terms"]
