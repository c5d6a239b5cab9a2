"""Makes an app one that does not follow to another server, as an older SDK: what it asks elsewhere is carried."""

import keypeg.line

keypeg.line.FOLLOW = ("keypeg-follow", "0")  # type: ignore[misc]  # a constant of the program
