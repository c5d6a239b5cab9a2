"""Which licenses automatic mode wants in the cloud, and which a person may choose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keypeg import errors
from keypeg_server.domain.cloud_licenses import (
    Arrangement,
    arrange,
    check_choice,
    with_cloud_remedy,
)
from keypeg_server.domain.cloud_session import CloudMode, CloudSession, CloudState
from keypeg_server.domain.license import (
    Feature,
    License,
    LicenseState,
)
from tests.server.domain.a_license import (
    CLOUD_PLACE,
    DAY,
    KEY,
    KEY_PLACE,
    LICENSE,
    NOW,
    activation,
)

AUTOMATIC = CloudSession("acme")
MANAGED = CloudSession("acme", mode=CloudMode.MANAGED)
OLDER = replace(LICENSE, id="l2", deposit_time=NOW - DAY)


IN_CLOUD = {one.id: activation(one, CLOUD_PLACE, f"a-{one.id}") for one in (LICENSE, OLDER)}


def test_automatic_mode_activates_what_is_free_and_may_live_there() -> None:
    free = LICENSE
    used = replace(LICENSE, id="l2", product="publishers/p/products/cad", activation_count=1)
    counted = replace(LICENSE, id="l3", product="publishers/p/products/fem", seat_count=5)
    on_keys = replace(
        LICENSE, id="l4", product="publishers/p/products/eq", allowed_locations=frozenset({KEY})
    )
    ended = replace(LICENSE, id="l5", product="publishers/p/products/fx", expire_time=NOW - DAY)
    in_cloud = replace(LICENSE, id="l6", product="publishers/p/products/amp")
    there = [activation(used, KEY_PLACE), activation(in_cloud, CLOUD_PLACE)]
    licenses = [free, used, counted, on_keys, ended, in_cloud]
    assert arrange(licenses, there, NOW) == Arrangement(activate=(free,))


def test_of_copies_only_the_oldest_is_activated() -> None:
    other = replace(LICENSE, id="l3", features=(Feature("surround"),))
    assert arrange([LICENSE, OLDER, other], [], NOW) == Arrangement(activate=(OLDER, other))


SUSPENDED, ENDED = replace(OLDER, state=LicenseState.SUSPENDED), replace(OLDER, expire_time=NOW)


@pytest.mark.parametrize(
    ("licenses", "there", "wanted"),
    [
        pytest.param([LICENSE, OLDER], ["l1"], Arrangement(), id="a newer one stays where it is"),
        pytest.param(
            [LICENSE, OLDER],
            ["l1", "l2"],
            Arrangement(free=(IN_CLOUD["l1"],)),
            id="of two that were chosen the older one stays",
        ),
        pytest.param(
            [LICENSE, ENDED],
            ["l2"],
            Arrangement(activate=(LICENSE,), free=(IN_CLOUD["l2"],)),
            id="one that ended gives way to its copy",
        ),
        pytest.param(
            [LICENSE, SUSPENDED],
            ["l1", "l2"],
            Arrangement(free=(IN_CLOUD["l2"],)),
            id="one that is suspended is not kept beside its copy",
        ),
        pytest.param([ENDED], ["l2"], Arrangement(), id="one that ended and has no copy stays"),
        pytest.param([], [], Arrangement(), id="nothing"),
    ],
)
def test_one_of_several_copies_is_kept(
    licenses: list[License], there: list[str], wanted: Arrangement
) -> None:
    found = arrange(licenses, [IN_CLOUD[id] for id in there], NOW)
    assert found == wanted
    assert bool(found) == bool(wanted.activate or wanted.free)


def test_a_copy_is_chosen_for_the_cloud_in_managed_mode_only() -> None:
    there = [IN_CLOUD["l2"]]
    with pytest.raises(errors.LicenseUnsuitable) as refused:
        check_choice(AUTOMATIC, LICENSE, [LICENSE, OLDER], there, NOW)
    assert refused.value.metadata["rule"] == "automatic_mode"
    assert refused.value.metadata["copy"] == OLDER.name
    explanation = refused.value.explanation
    assert explanation is not None
    assert [one.action for one in explanation.remedies] == ["set_managed_mode"]
    check_choice(MANAGED, LICENSE, [LICENSE, OLDER], there, NOW)
    check_choice(AUTOMATIC, LICENSE, [LICENSE, ENDED], there, NOW)
    check_choice(AUTOMATIC, LICENSE, [LICENSE, OLDER], [], NOW)


@pytest.mark.parametrize(
    ("session", "said", "actions"),
    [
        (AUTOMATIC, "reserved while", ["take_out_of_cloud"]),
        (MANAGED, "reserved while", ["take_out_of_cloud", "free_cloud"]),
        (
            replace(MANAGED, state=CloudState.OPEN),
            "out of the cloud;",
            ["take_out_of_cloud", "free_cloud"],
        ),
    ],
)
def test_what_the_cloud_keeps_from_others_can_be_had(
    session: CloudSession, said: str, actions: list[str]
) -> None:
    refusal = errors.ActivationsExhausted("All are used.", license=LICENSE.name)
    found = with_cloud_remedy(refusal, session, LICENSE, [IN_CLOUD["l1"]]).explanation
    assert found is not None
    assert [remedy.action for remedy in found.remedies] == actions
    assert said in found.remedies[0].sentence
    elsewhere = errors.ActivationsExhausted("All are used.", license=LICENSE.name)
    key = [activation(LICENSE, KEY_PLACE)]
    assert with_cloud_remedy(elsewhere, session, LICENSE, key).explanation is None
