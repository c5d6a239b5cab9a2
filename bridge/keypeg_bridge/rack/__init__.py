"""The rack: every key of this computer, each with a name, a state, a queue and a thread of its own.

Promises: what one key does (stall, lie, leave) never reaches another; whatever a key says ends in a record or a fault
sentence. The rack counts no seats, holds no secret of a key, and decides nothing that an app must not check itself.
"""
