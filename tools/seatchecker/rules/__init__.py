"""The rules of seats, each a pure function from what was recorded to findings; docs/seatcheck.md tells them."""
