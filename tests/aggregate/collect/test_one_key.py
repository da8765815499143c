"""Two aggregators with one peer key: the second is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from methrics.aggregate.closing.trust import Trust, trust_of
from methrics.aggregate.collect import one_key
from methrics.aggregate.collect.one_key import only_with_key
from methrics.node.network.peer_ids import peer_id_of
from methrics.node.process.lock import FileLock
from methrics.schema.errors import ConfigError
from methrics.schema.wire.envelope import public_key

SEED, OTHER = b"s" * 32, b"o" * 32
OWN = peer_id_of(public_key(SEED))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_key, "plain_temporary", lambda: tmp_path)


def test_a_second_aggregator_with_the_key_is_refused_until_the_first_ends() -> None:
    with only_with_key(SEED, (), Trust()):
        with (
            pytest.raises(ConfigError, match="same key") as caught,
            only_with_key(SEED, (), Trust()),
        ):
            pass
        assert caught.value.code == "key-in-use"
        assert OWN in str(caught.value)
        with only_with_key(OTHER, (), Trust()):
            pass
    with only_with_key(SEED, (), Trust()):
        pass


def test_attack_another_user_holds_a_lock_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is one that all users share, and a peer id is public."""
    with only_with_key(SEED, (), Trust()):
        [path] = tmp_path.iterdir()
    running: list[str] = []
    with FileLock(str(path)):
        with pytest.raises(ConfigError, match="same key"), only_with_key(SEED, (), Trust()):
            pass
        with monkeypatch.context() as patched:
            patched.setattr("os.geteuid", lambda: path.stat().st_uid + 1)
            with only_with_key(SEED, (), Trust()):
                running.append("the file is of another user")
        path.chmod(0o666)
        with only_with_key(SEED, (), Trust()):
            running.append("anybody can lock the file")
    path.unlink()
    (tmp_path / "precious").write_text("precious")
    path.symlink_to(tmp_path / "precious")
    with only_with_key(SEED, (), Trust()):
        running.append("it is a link")
    assert len(running) == 3


def test_a_named_peer_with_the_own_key_is_a_copy() -> None:
    address = f"/ip4/203.0.113.5/tcp/4001/p2p/{OWN}"
    for peers, trust in (([address], Trust()), ([], trust_of([OWN]))):
        with pytest.raises(ConfigError, match="own key"), only_with_key(SEED, peers, trust):
            pass
        with only_with_key(OTHER, peers, trust):
            pass


def test_where_no_lock_can_be_made_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_with_key(SEED, (), Trust()):
        pass
    assert [*tmp_path.iterdir()] != []  # where a lock can be made, it is
    nowhere = Path("/proc/1/nowhere")
    monkeypatch.setattr(one_key, "plain_temporary", lambda: nowhere)
    running: list[str] = []
    with only_with_key(SEED, (), Trust()):
        running.append("first")
        with only_with_key(SEED, (), Trust()):  # then the second is not noticed
            running.append("second")
    assert running == ["first", "second"]
    assert not nowhere.exists()
