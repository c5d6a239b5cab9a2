"""The command line `keypeg`: one file per noun.

Promises: help and completion load click and this package's tables only; a noun is loaded when it is
named, and gRPC when a command calls.

Leaves to others: everything but asking and showing. Calls, profiles and the agent are the SDK's.
"""
