"""The verifiers in C and in Python count alike (test_points.py: on points of every order, too)."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema.verifiers import NATIVE, VERIFIERS, OpenMany, verifying_with
from vector_world import World, malleable

from methrics.schema.wire import signatures
from methrics.schema.wire.envelope import Item, split
from methrics.schema.wire.signatures import count_valid

WORLD = World()
GOOD = [split(WORLD.report(name=f"person {n}")) for n in range(12)]
FORGED = split(malleable(GOOD[0].raw))


@pytest.fixture(params=VERIFIERS, scope="module")
def verifier(request: pytest.FixtureRequest) -> OpenMany:
    found: OpenMany = request.param
    return found


def message(item: Item) -> bytes:
    return item.signature + item.signed


@given(data=st.data())
def test_the_count_ends_at_the_first_changed_bit(verifier: OpenMany, data: st.DataObject) -> None:
    items = data.draw(st.lists(st.sampled_from(GOOD), max_size=12))
    messages, keys = [message(item) for item in items], [item.key for item in items]
    assert verifier(messages, keys) == len(items)
    broken = data.draw(st.sets(st.integers(0, len(items) - 1))) if items else set()
    for at in broken:
        changed = messages if data.draw(st.booleans()) else keys
        bit = data.draw(st.integers(0, 8 * len(changed[at]) - 1))
        number = int.from_bytes(changed[at], "big") ^ 1 << bit
        changed[at] = number.to_bytes(len(changed[at]), "big")
    assert verifier(messages, keys) == min(broken, default=len(items))


def test_a_message_shorter_than_a_signature_is_invalid(verifier: OpenMany) -> None:
    for size in (0, 1, 63, 64):
        assert verifier([bytes(size)], [GOOD[0].key]) == 0


@pytest.mark.parametrize(
    ("messages", "keys", "error"),
    [
        ([message(GOOD[0])], [GOOD[0].key[:31]], ValueError),
        ([message(GOOD[0])], [GOOD[0].key + b"\0"], ValueError),
        ([message(GOOD[0])], [], ValueError),
        ([], [GOOD[0].key], ValueError),
        (["text"], [GOOD[0].key], TypeError),
        ([message(GOOD[0])], [None], TypeError),
        (1, [], TypeError),
    ],
)
def test_wrong_arguments_raise(
    verifier: OpenMany, messages: list[bytes], keys: list[bytes], error: type[Exception]
) -> None:
    with pytest.raises(error):
        verifier(messages, keys)


def test_items_are_counted_up_to_the_first_forged_one(verifier: OpenMany) -> None:
    with verifying_with(verifier):
        assert count_valid([]) == 0
        assert count_valid(GOOD) == len(GOOD)
        assert count_valid([*GOOD[:3], FORGED, *GOOD[3:]]) == 3


def test_python_verifies_where_there_is_no_verifier_in_c() -> None:
    code = (
        "import sys\n"
        "sys.modules['methrics_native'] = None\n"
        "from methrics.schema.wire import signatures\n"
        "assert not signatures.is_native()\n"
        "assert signatures.count_valid([]) == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(NATIVE is None, reason="methrics-native is not installed")
def test_the_verifier_in_c_is_used_where_it_is_installed() -> None:
    assert signatures._verifier() is NATIVE
    assert signatures.is_native()
