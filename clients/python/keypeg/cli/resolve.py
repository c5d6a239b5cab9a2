"""From what a person types to the one resource that is meant.

Promises: takes whole names, ids, what tables show, and the words that people gave (a login, a label);
what means nothing, or more than one thing, is refused with what there is. A whole name costs no call.

Leaves to others: matching of ids (short.py), and permissions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keypeg import errors, names
from keypeg.cli import short
from keypeg.cli.link import Link
from keypeg.v1 import (
    account_pb2,
    account_service_pb2,
    account_service_pb2_grpc,
    activation_service_pb2,
    activation_service_pb2_grpc,
    borrow_pb2,
    borrow_service_pb2,
    borrow_service_pb2_grpc,
    key_pb2,
    key_service_pb2,
    key_service_pb2_grpc,
    license_pb2,
    license_service_pb2,
    license_service_pb2_grpc,
    location_pb2,
    location_service_pb2,
    location_service_pb2_grpc,
    seat_pb2,
    seat_service_pb2,
    seat_service_pb2_grpc,
)

SHOWN: Final = 8  # how many candidates a refusal lists


def pick(kind: str, text: str, there: Mapping[str, tuple[str, ...]], listing: str) -> str:
    """The one name that `text` means, among names with the words that people know them by."""
    found = short.match(text, there)
    if not found:
        found = [name for name, words in there.items() if text in words]
    if len(found) == 1:
        return found[0]
    shown = short.shortened(there)
    if found:
        several = ", ".join(shown[name] for name in found[:SHOWN])
        raise errors.FieldInvalid(
            f"{text!r} means more than one {kind}: {several}; write more of it."
        )
    if not there:
        raise errors.NotFound(f"There is no {kind} {text!r}: there are none at all.")
    some = ", ".join(
        f"{shown[name]}{f' ({words[0]})' if words and words[0] else ''}"
        for name, words in list(there.items())[:SHOWN]
    )
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    raise errors.NotFound(f"There is no {kind} {text!r}; there is {some}{more} ({listing}).")


async def licenses(link: Link, account: str) -> list[license_pb2.License]:
    """The licenses of an account."""
    return await link.every(
        license_service_pb2_grpc.LicenseServiceStub(link.channel).ListLicenses,
        license_service_pb2.ListLicensesRequest(parent=account),
        lambda response: response.licenses,
    )


async def activations(link: Link, parent: str) -> list[license_pb2.Activation]:
    """The activations of an account or of a license."""
    return await link.every(
        activation_service_pb2_grpc.ActivationServiceStub(link.channel).ListActivations,
        activation_service_pb2.ListActivationsRequest(parent=parent),
        lambda response: response.activations,
    )


async def locations(link: Link, account: str) -> list[location_pb2.Location]:
    """The locations of an account."""
    return await link.every(
        location_service_pb2_grpc.LocationServiceStub(link.channel).ListLocations,
        location_service_pb2.ListLocationsRequest(parent=account),
        lambda response: response.locations,
    )


async def users(link: Link, account: str) -> list[account_pb2.User]:
    """The users of an account."""
    return await link.every(
        account_service_pb2_grpc.AccountServiceStub(link.channel).ListUsers,
        account_service_pb2.ListUsersRequest(parent=account),
        lambda response: response.users,
    )


async def logins(link: Link, account: str) -> dict[str, str]:
    """The login of each user, as far as the caller may see them; for people."""
    try:
        return {one.name: one.login for one in await users(link, account)}
    except errors.PermissionDenied:
        return {}


async def pools(link: Link, account: str, product: str = "") -> list[seat_pb2.Pool]:
    """The pools of an account, of one product or of all; NotFound when there is no such account."""
    found = await link.every(
        seat_service_pb2_grpc.SeatServiceStub(link.channel).ListPools,
        seat_service_pb2.ListPoolsRequest(parent=account, product=product),
        lambda response: response.pools,
    )
    if not found:
        await link.call(
            account_service_pb2_grpc.AccountServiceStub(link.channel).GetAccount,
            account_service_pb2.GetAccountRequest(name=account),
        )
    return found


async def leases(link: Link, pool: str) -> list[seat_pb2.Lease]:
    """The leases of a pool."""
    return await link.every(
        seat_service_pb2_grpc.SeatServiceStub(link.channel).ListLeases,
        seat_service_pb2.ListLeasesRequest(parent=pool),
        lambda response: response.leases,
    )


async def borrows(link: Link, parent: str) -> list[borrow_pb2.Borrow]:
    """The borrows of an account or of a pool, as far as the caller may see them."""
    return await link.every(
        borrow_service_pb2_grpc.BorrowServiceStub(link.channel).ListBorrows,
        borrow_service_pb2.ListBorrowsRequest(parent=parent),
        lambda response: response.borrows,
    )


async def keys(link: Link) -> list[key_pb2.Key]:
    """The keys of a bridge."""
    stub = key_service_pb2_grpc.KeyServiceStub(link.channel)
    return list((await link.call(stub.ListKeys, key_service_pb2.ListKeysRequest())).keys)


async def license_name(link: Link, text: str, account: str | None) -> str:
    """The name of a license."""
    if names.LICENSE.matches(text):
        return text
    there = await licenses(link, await link.account(account))
    words = {
        one.name: (one.product_display_name, short.product(one.product), one.external_reference)
        for one in there
    }
    return pick("license", text, words, "keypeg license list")


async def activation_name(link: Link, text: str, account: str | None) -> str:
    """The name of an activation."""
    if names.ACTIVATION.matches(text):
        return text
    there = await activations(link, await link.account(account))
    return pick("activation", text, {one.name: () for one in there}, "keypeg activation list")


async def location_name(link: Link, text: str, account: str) -> str:
    """The name of a location; `cloud` and `site` need no call."""
    if names.LOCATION.matches(text):
        return text
    if text in ("cloud", "site"):
        return names.LOCATION.build(*names.ACCOUNT.parse(account), text)
    there = {one.name: (one.display_name, one.serial) for one in await locations(link, account)}
    return pick("location", text, there, "keypeg location list")


async def user_name(link: Link, text: str, account: str | None) -> str:
    """The name of a user."""
    if names.USER.matches(text):
        return text
    there = await users(link, await link.account(account))
    return pick("user", text, {one.name: (one.login,) for one in there}, "keypeg user list")


async def pool_name(link: Link, text: str, account: str | None) -> str:
    """The name of a pool; a product means its only pool."""
    if names.POOL.matches(text):
        return text
    there = await pools(link, await link.account(account))
    words = {one.name: (short.product(one.product), one.product) for one in there}
    return pick("pool", text, words, "keypeg seat pools")


async def lease(link: Link, text: str, account: str | None) -> seat_pb2.Lease:
    """A lease that is held now."""
    if names.LEASE.matches(text):
        where = [names.parent(text)]
    else:
        where = [one.name for one in await pools(link, await link.account(account))]
    there = {one.name: one for pool in where for one in await leases(link, pool)}
    return there[pick("lease", text, dict.fromkeys(there, ()), "keypeg seat list")]


async def borrow_name(link: Link, text: str, account: str | None) -> str:
    """The name of a borrow; a computer means its only one."""
    if names.BORROW.matches(text):
        return text
    there = await borrows(link, await link.account(account))
    words = {one.name: (one.host_name, one.device) for one in there}
    return pick("borrow", text, words, "keypeg borrow list")


def product_name(text: str) -> str:
    """The name of a product: `publisher/product` or whole."""
    if names.PRODUCT.matches(text):
        return text
    parts = text.split("/")
    if len(parts) != 2:
        raise errors.FieldInvalid(
            f"{text!r} is no product; write publisher/product, for example acme/cad."
        )
    return names.PRODUCT.build(*parts)


def publisher_name(text: str) -> str:
    """The name of a publisher."""
    return text if names.PUBLISHER.matches(text) else names.PUBLISHER.build(text)


async def key(link: Link, text: str | None) -> key_pb2.Key:
    """A key that is plugged in; without a word, the only one."""
    there = {one.name: one for one in await keys(link)}
    if text is not None:
        words = {name: (one.serial, one.card_id) for name, one in there.items()}
        return there[pick("key", text, words, "keypeg key list")]
    present = [one for one in there.values() if one.state == key_pb2.KEY_STATE_PRESENT]
    if len(present) == 1:
        return present[0]
    if present:
        several = ", ".join(short.last(one.name) for one in present[:SHOWN])
        raise errors.FieldInvalid(f"{len(present)} keys are plugged in; name one: {several}.")
    raise errors.KeyMissing("No key is plugged in that can be used.")
