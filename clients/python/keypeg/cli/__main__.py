"""`python -m keypeg.cli`: the same as `keypeg`."""

from keypeg.cli.main import main

main()
