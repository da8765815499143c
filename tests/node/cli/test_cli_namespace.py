"""`methrics namespace`: a key, and records that continue what the relays and the file have."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trio.testing
from tests.relay_serving import serve_relay

from methrics.aggregate.cli.exit_codes import LOCAL, NETWORK, NO, OK, USAGE
from methrics.aggregate.cli.main import main
from methrics.node.cli import namespace_asking
from methrics.node.cli.keyfile import read_key
from methrics.node.cli.namespace_signing import record_path
from methrics.node.cli.namespace_status import AGREED, ALONE, agreement, status_lines
from methrics.node.cli.record_file import load_record
from methrics.node.clock import Clock
from methrics.node.network.memory import MemoryNetwork
from methrics.node.network.peer_ids import peer_id_of
from methrics.node.process.worker import inline
from methrics.node.publish.record_relays import Told
from methrics.node.relay.relay import RelaySettings
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_source
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import Item, Kind, public_key, sign_item
from methrics.schema.wire.record import Record, Revoked, decode_record, encode_record, sign_record

DAY = 86_400


class Network:
    """Relays in memory, which exist while a command asks them. Their books outlast the command."""

    def __init__(self, topic: str, relays: int) -> None:
        self.topic = topic
        self.books = [CatalogBook({topic}) for _ in range(relays)]
        self.seeds = [bytes([n + 1]) * 32 for n in range(relays)]
        names = [peer_id_of(public_key(seed)) for seed in self.seeds]
        self.addrs = [f"/memory/{name}/p2p/{name}" for name in names]
        self.down: set[int] = set()

    def options(self, *numbers: int) -> list[str]:
        chosen = numbers or range(len(self.addrs))
        return [part for n in chosen for part in ("--relay", self.addrs[n])]

    def newest(self, number: int, key: bytes) -> Record | None:
        known = self.books[number].records.newest(key)
        return known.record if known else None

    async def run(self, work: Callable[..., Awaitable[object]]) -> object:
        network = MemoryNetwork(rng=random.Random(1))
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            for number, book in enumerate(self.books):
                seed = self.seeds[number]
                if number in self.down:
                    continue
                swarm = await stack.enter_async_context(network.open_swarm(key=public_key(seed)))
                settings = RelaySettings(topics=(self.topic,))
                await serve_relay(
                    nursery, swarm, book, settings, clock=Clock(), seed=seed, worker=inline
                )
            asker = await stack.enter_async_context(network.open_swarm(listen=False))
            found = await work(asker)
            nursery.cancel_scope.cancel()
        return found


class Owner:
    """An app's owner, with a key and a signed catalog."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "app.key"
        assert main(["namespace", "init", str(self.key)]) == OK
        self.catalog = self.sign("app.cbor")

    @property
    def seed(self) -> bytes:
        return read_key(self.key)

    @property
    def public(self) -> bytes:
        return public_key(self.seed)

    @property
    def record(self) -> Record:
        return decode_record(load_record(self.folder / "app.record").payload)

    def sign(self, name: str, previous: Catalog | None = None) -> Catalog:
        raw = sign(parse_source(example_source()), self.seed, previous)
        (self.folder / name).write_bytes(raw)
        return load(raw)

    def publish(self, *options: str, catalog: str = "app.cbor") -> int:
        named = str(self.folder / catalog)
        return main(["namespace", "publish", "--key", str(self.key), *options, named])

    def revoke(self, *options: str) -> int:
        key = ["--key", str(self.key)]
        reason = [] if "--reason" in options else ["--reason", "It asked for too much."]
        return main(["namespace", "revoke", *key, *reason, *options])


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path)


@pytest.fixture
def network(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> Network:
    found = Network(owner.catalog.topic, 2)
    monkeypatch.setattr(namespace_asking, "on_network", found.run)
    return found


def test_init_makes_a_key_once_and_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "app.key"
    assert main(["namespace", "init", str(key)]) == OK
    said = capsys.readouterr().out
    assert f"public key {public_key(read_key(key)).hex()}" in said
    assert "methrics namespace publish" in said
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    assert main(["namespace", "init", str(key)]) == LOCAL
    assert key.read_bytes() == before


def test_offline_has_to_be_said(owner: Owner, capsys: pytest.CaptureFixture[str]) -> None:
    assert owner.publish() == USAGE
    assert "--offline" in capsys.readouterr().err
    assert not (owner.folder / "app.record").exists()
    assert owner.publish("--offline", "--relay", "/memory/x/p2p/x") == USAGE
    assert owner.publish("--offline") == OK
    assert [one.catalog for one in owner.record.catalogs] == [owner.catalog.id]


def test_offline_continues_the_record_in_the_file(owner: Owner) -> None:
    assert owner.publish("--offline") == OK
    first = load_record(owner.folder / "app.record")
    following = owner.sign("next.cbor", owner.catalog)
    assert owner.publish("--offline", catalog="next.cbor") == OK
    assert owner.record.previous == (first.id,)
    assert set(owner.record.listings) == {owner.catalog.id, following.id}
    catalog = ["--catalog", str(owner.folder / "app.cbor")]
    assert owner.revoke("--offline", "signin", *catalog, "--from", "2026-01-01") == OK
    assert owner.record.revoked["signin"].time == 1_767_225_600
    assert set(owner.record.listings) == {owner.catalog.id, following.id}


def test_publish_gives_every_relay_the_record_and_the_catalog(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    assert owner.publish(*network.options()) == OK
    for book in network.books:
        assert book.get(owner.catalog.id) is not None
        known = book.records.newest(owner.public)
        assert known is not None
        assert known.record == owner.record
    assert capsys.readouterr().out.count(": ok") == 2


def test_attack_a_restored_backup_continues_what_the_network_has(
    owner: Owner, network: Network
) -> None:
    """The machine lost the record's file, so without asking it would sign a second first record."""
    assert owner.publish(*network.options()) == OK
    first = load_record(owner.folder / "app.record")
    (owner.folder / "app.record").unlink()
    assert owner.revoke(*network.options(), "signin") == OK
    assert owner.record.previous == (first.id,)
    assert set(owner.record.listings) == {owner.catalog.id}
    assert all(book.records.proof(owner.public) is None for book in network.books)


def test_nothing_is_signed_if_no_relay_answers(owner: Owner, network: Network) -> None:
    network.down = {0, 1}
    assert owner.publish(*network.options()) == NETWORK
    assert not (owner.folder / "app.record").exists()


def test_a_relay_that_does_not_answer_is_named(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    network.down = {1}
    assert owner.publish(*network.options(), "--json") == NETWORK
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["relays"][network.addrs[0]] == "ok"
    assert said["relays"][network.addrs[1]] != "ok"


def equivocate(owner: Owner, network: Network) -> tuple[Item, Item]:
    """Two records by one parent, known to every relay."""
    now = Clock().now()
    found = [
        sign_record([owner.catalog.id], owner.seed, time=now - n, expires=now + DAY)
        for n in (20, 10)
    ]
    for book in network.books:
        for item in found:
            book.records.add(item, decode_record(item.payload))
    return found[0], found[1]


def test_the_next_record_heals_an_equivocation(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = equivocate(owner, network)
    assert owner.publish(*network.options()) == OK
    assert set(owner.record.previous) == {one.id, other.id}
    assert "heals" in capsys.readouterr().out
    assert all(book.records.proof(owner.public) is None for book in network.books)


def test_status_shows_an_equivocation_with_both_records(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    found = equivocate(owner, network)
    capsys.readouterr()
    catalog = str(owner.folder / "app.cbor")
    assert main(["namespace", "status", *network.options(), catalog]) == OK
    said = capsys.readouterr().out
    assert all(f"record {one.id.hex()[:16]} of" in said for one in found)
    assert "contradict each other" in said
    assert main(["namespace", "status", *network.options(), "--json", catalog]) == OK
    document = json.loads(capsys.readouterr().out)
    assert document["equivocation"]
    assert {bytes.fromhex(one["raw"]) for one in document["records"]} == {one.raw for one in found}


def test_status_says_whether_relays_agree_and_when_the_record_expires(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = ["--topic", network.topic]
    assert main(["namespace", "status", *network.options(), *topic]) == NO
    assert "no relay has a record" in capsys.readouterr().out
    assert owner.publish(*network.options(0), "--expires", "20d") == OK
    assert main(["namespace", "status", *network.options(), *topic]) == OK
    said = capsys.readouterr().out
    assert "different records" in said
    assert "publish again before that" in said
    assert owner.publish(*network.options()) == OK
    assert main(["namespace", "status", *network.options(), *topic]) == OK
    said = capsys.readouterr().out
    assert "all relays that answered have the same" in said
    assert "0.0 bits" in said
    assert "before that" not in said
    assert main(["namespace", "status", *network.options(1), *topic]) == OK
    assert "one relay, not cross-checked" in capsys.readouterr().out


def test_a_catalog_is_delisted_no_sooner_than_its_reports_may_arrive(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    assert owner.publish(*network.options()) == OK
    owner.sign("next.cbor", owner.catalog)
    old = ["--delist", str(owner.folder / "app.cbor")]
    assert owner.publish(*network.options(), *old, "--in", "1d", catalog="next.cbor") == LOCAL
    assert "--in 21d" in capsys.readouterr().err
    assert owner.publish(*network.options(), *old, "--in", "30d", catalog="next.cbor") == OK
    ended = owner.record.listings[owner.catalog.id].delisted
    assert ended is not None
    assert ended - owner.record.time >= 30 * DAY - 60
    before = (owner.folder / "app.record").read_bytes()
    capsys.readouterr()
    assert owner.publish(*network.options(), *old, "--in", "40d", catalog="next.cbor") == LOCAL
    assert owner.publish(*network.options()) == LOCAL
    said = capsys.readouterr().err.splitlines()
    assert [line.count("delisted from") for line in said] == [1, 1], "a line each"
    assert (owner.folder / "app.record").read_bytes() == before
    assert owner.publish(*network.options(), catalog="next.cbor") == OK
    assert owner.record.listings[owner.catalog.id].delisted == ended


def test_only_own_catalogs_can_be_listed(
    owner: Owner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.cbor").write_bytes(sign(parse_source(example_source()), b"o" * 32))
    assert owner.publish("--offline", catalog="other.cbor") == LOCAL
    assert "another key" in capsys.readouterr().err


def test_a_record_from_the_future_is_not_continued(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    now = Clock().now()
    record = Record(time=now + DAY, expires=now + 2 * DAY)
    item = sign_item(Kind.RECORD, encode_record(record), owner.seed)
    (owner.folder / "app.record").write_bytes(item.raw)
    assert owner.publish("--offline") == LOCAL
    assert "clock" in capsys.readouterr().err


def test_status_needs_a_catalog_or_a_topic(owner: Owner) -> None:
    assert main(["namespace", "status", "--relay", "/ip4/192.0.2.7/tcp/1/p2p/x"]) == USAGE
    assert main(["namespace", "status", "--topic", "x", "--relay", "/ip4/192.0.2.7/p2p/x"]) != OK


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 40_000])
def test_a_file_that_is_no_record_is_left_alone(owner: Owner, content: bytes) -> None:
    (owner.folder / "app.record").write_bytes(content)
    assert owner.publish("--offline") == LOCAL
    assert (owner.folder / "app.record").read_bytes() == content


def test_two_addresses_of_one_relay_are_one_relay(owner: Owner) -> None:
    assert owner.publish("--offline") == OK
    raw, topic = load_record(owner.folder / "app.record").raw, owner.catalog.topic
    addrs = [f"/ip4/192.0.2.{n}/tcp/4001/p2p/12D3KooWone" for n in (1, 2)]
    told = [Told(addr, topic, (raw,)) for addr in addrs]
    assert agreement(told) == ALONE
    assert "one relay, not cross-checked" in list(status_lines(told, topic, Clock().now()))
    dead = Told(addrs[1], error="it did not answer in time")
    assert agreement([told[0], dead]) == ALONE
    other = Told("/ip4/192.0.2.3/tcp/4001/p2p/12D3KooWother", topic, (raw,))
    assert agreement([*told, other]) == AGREED


@pytest.mark.parametrize(
    "wrong",
    [
        ["signin", "--reason", ""],
        ["signin", "--reason", "é" * 150],
        ["signin", "--reason", "two\nlines"],
        ["Start!"],
        ["signin", "--from", "9999-12-31T23:59:59-12:00"],
    ],
)
def test_a_revocation_that_no_record_can_hold_is_refused_before_relays_are_asked(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    network.down = {0, 1}
    assert owner.revoke(*network.options(), *wrong) == USAGE
    assert "fault" not in capsys.readouterr().err


def test_a_record_that_gets_too_large_is_no_fault(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    now = Clock().now()
    many = {f"type{n}": Revoked(600, "r" * 200) for n in range(71)}
    before = sign_record([], owner.seed, time=now - 9, expires=now + DAY, revoked=many)
    (owner.folder / "app.record").write_bytes(before.raw)
    assert owner.revoke("--offline", "--yes", "signin", "--reason", "r" * 200) == LOCAL
    assert "cannot be signed" in capsys.readouterr().err


def test_only_a_type_that_a_catalog_has_is_revoked_unless_told_to(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    assert owner.revoke("--offline", "signin") == LOCAL
    assert "--catalog" in capsys.readouterr().err
    assert owner.publish(*network.options()) == OK
    assert owner.revoke(*network.options(), "sigin") == LOCAL
    assert "did you mean signin" in capsys.readouterr().err
    assert not owner.record.revoked
    assert owner.revoke(*network.options(), "signin") == OK
    assert owner.revoke(*network.options(), "--yes", "gone") == OK
    assert set(owner.record.revoked) == {"gone", "signin"}


def test_a_type_that_is_revoked_already_is_not_signed_again(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    assert owner.publish(*network.options()) == OK
    assert owner.revoke(*network.options(0), "signin") == OK
    before = owner.record
    capsys.readouterr()
    assert owner.revoke(*network.options(), "signin") == OK
    assert "signin was already revoked from 20" in capsys.readouterr().out
    assert owner.record == before
    assert network.newest(1, owner.public) == before
    assert owner.revoke(*network.options(), "signin", "--json") == OK
    assert json.loads(capsys.readouterr().out)["signed"] is False
    assert owner.revoke(*network.options(), "signin", "--from", "2026-01-01") == OK
    assert owner.record.revoked["signin"].time == 1_767_225_600


def test_a_revocation_from_now_on_leaves_what_is_stored(owner: Owner) -> None:
    catalog = ["--catalog", str(owner.folder / "app.cbor")]
    now = Clock().now()
    assert owner.revoke("--offline", "signin", *catalog) == OK
    assert now <= owner.record.revoked["signin"].time < now + 660


def test_each_key_has_a_record_file_of_its_own() -> None:
    names = {"app.key": "app.record", "app.prod": "app.prod.record", "app": "app.record"}
    for key, record in names.items():
        assert record_path(Path("keys") / key) == Path("keys") / record


def test_attack_the_record_of_another_namespace_is_not_overwritten(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two keys with one record file would lose a record, and sign a second first one later."""
    foreign = sign_record([], b"o" * 32, time=1, expires=DAY).raw
    (owner.folder / "app.record").write_bytes(foreign)
    assert owner.publish("--offline") == LOCAL
    assert "--out" in capsys.readouterr().err
    assert (owner.folder / "app.record").read_bytes() == foreign


def test_status_says_whether_the_named_catalog_is_listed(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.sign("v2.cbor", owner.catalog)
    assert owner.publish(*network.options()) == OK
    assert "app.cbor (number 1), listed since" in capsys.readouterr().out
    v1, v2 = str(owner.folder / "app.cbor"), str(owner.folder / "v2.cbor")
    assert main(["namespace", "status", *network.options(), v2]) == NO
    assert "v2.cbor (number 2) is not listed" in capsys.readouterr().out
    assert main(["namespace", "status", *network.options(), v1]) == OK
    assert "app.cbor (number 1) is listed" in capsys.readouterr().out
    assert main(["namespace", "status", *network.options(), v2, "--json"]) == NO
    assert json.loads(capsys.readouterr().out)["catalog"]["listed"] is False


def test_no_answer_is_explained_for_each_relay(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    network.down = {0, 1}
    assert owner.publish(*network.options()) == NETWORK
    said = capsys.readouterr().err
    assert all(f"{addr}: " in said for addr in network.addrs)
    assert said.count("\n") == 1


def test_a_person_is_warned_long_before_the_list_is_full(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    now = Clock().now()
    others = [bytes([n]) * 32 for n in range(23)]
    before = sign_record(others, owner.seed, time=now - 9, expires=now + DAY)
    (owner.folder / "app.record").write_bytes(before.raw)
    assert owner.publish("--offline") == OK
    assert "24 of at most 32" in capsys.readouterr().out


def test_publish_says_which_record_it_follows(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert owner.publish("--offline") == OK
    said = capsys.readouterr().out
    assert "the first record of this namespace" in said
    assert "warning" not in said
    first = load_record(owner.folder / "app.record")
    owner.sign("v2.cbor", owner.catalog)
    assert owner.publish("--offline", catalog="v2.cbor") == OK
    assert f"it follows record {first.id.hex()[:16]} of 20" in capsys.readouterr().out
    (owner.folder / "app.record").unlink()
    assert owner.publish("--offline", catalog="v2.cbor") == OK
    assert "warning: v2.cbor (number 2) is not the first catalog" in capsys.readouterr().out


def test_delisting_is_checked_before_anything_is_signed(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert owner.publish("--offline", "--in", "30d") == USAGE
    assert "--delist" in capsys.readouterr().err
    assert owner.publish("--offline", "--delist", str(owner.folder / "app.cbor")) == USAGE
    assert "at once" in capsys.readouterr().err
    assert not (owner.folder / "app.record").exists()


def test_wrong_files_and_topics_get_the_error_that_helps(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    relay = ["--relay", "/memory/x/p2p/x"]
    assert main(["namespace", "status", *relay, "--topic", "foo"]) == LOCAL
    assert "/methrics/1/<label>-<key>/cbor" in capsys.readouterr().err
    source = owner.folder / "app.toml"
    source.write_text("[catalog]\n")
    source.chmod(0o644)
    catalog = str(owner.folder / "app.cbor")
    assert main(["namespace", "publish", "--offline", "--key", str(source), catalog]) == LOCAL
    assert "is not a key file" in capsys.readouterr().err


def test_offline_ends_with_the_whole_command_for_a_relay(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert owner.publish("--offline") == OK
    catalog, record = owner.folder / "app.cbor", owner.folder / "app.record"
    said = capsys.readouterr().out
    assert f"methrics relay --catalog {catalog} --record {record}" in said


def test_attack_a_restored_backup_takes_back_no_revocation_of_a_branch_that_parted_long_ago(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    """The relays have two records since the backup; the copy of the key signs three."""
    assert owner.publish(*network.options()) == OK
    backup = (owner.folder / "app.record").read_bytes()
    following = owner.sign("next.cbor", owner.catalog)
    assert owner.revoke(*network.options(), "signin") == OK
    ended = ["--delist", str(owner.folder / "app.cbor")]
    assert owner.publish(*network.options(), *ended, catalog="next.cbor") == OK
    before = load_record(owner.folder / "app.record")
    (owner.folder / "app.record").write_bytes(backup)
    for _ in range(3):  # so that it is the newest one
        assert owner.publish("--offline", catalog="next.cbor") == OK
    offline = load_record(owner.folder / "app.record")
    assert not owner.record.revoked
    capsys.readouterr()
    assert owner.publish(*network.options(), catalog="next.cbor") == OK
    said = capsys.readouterr().out
    assert set(owner.record.revoked) == {"signin"}
    assert owner.record.listings[owner.catalog.id].delisted is not None
    assert following.id in owner.record.listings
    assert set(owner.record.previous) == {before.id, offline.id}
    assert f"it follows record {offline.id.hex()[:16]}" in said
    assert f"record {before.id.hex()[:16]} of 20" in said
    assert "not among the ones before the newest; what it lists and revokes is kept" in said
    assert "contradict" not in said
    assert network.newest(1, owner.public) == owner.record


def test_attack_relays_that_forgot_the_record_are_told(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were started again without it, so that nobody can tell what was signed since."""
    assert owner.publish(*network.options()) == OK
    assert "If one was signed before, these two contradict" in capsys.readouterr().out
    assert owner.publish(*network.options()) == OK
    assert "warning" not in capsys.readouterr().out
    network.books = [CatalogBook({network.topic}) for _ in network.books]
    assert owner.publish(*network.options()) == OK
    assert "no relay has a record. If one was signed since 20" in capsys.readouterr().out


def test_status_tells_no_record_from_no_answer(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = str(owner.folder / "app.cbor")
    assert main(["namespace", "status", *network.options(), catalog]) == NO
    network.down = {0}
    assert main(["namespace", "status", *network.options(), catalog]) == NO
    network.down = {0, 1}
    assert main(["namespace", "status", *network.options(), catalog]) == NETWORK
    assert "no relay answered" in capsys.readouterr().out


def test_a_relay_of_other_apps_is_told_from_one_that_does_not_answer(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = network.topic
    network.topic = f"{topic[: -len('aaaaaaaaaaaaaaaa/cbor')]}aaaaaaaaaaaaaaaa/cbor"
    network.books = [CatalogBook({network.topic}) for _ in network.books]
    catalog = str(owner.folder / "app.cbor")
    for run, words in (
        (owner.publish, []),
        (owner.revoke, ["signin", "--catalog", catalog]),
    ):
        assert run(*network.options(), *words) == NETWORK
        said = capsys.readouterr().err
        assert "no relay carries this app" in said
        assert said.count("the relay does not carry this app") == 2
        assert f"--topic {topic} or --catalog FILE" in said
    assert owner.revoke(*network.options(), "signin") == NETWORK
    said = capsys.readouterr().err
    assert said.count("the relay does not carry this app") == 2
    assert "start it with --catalog FILE" in said
    assert main(["namespace", "status", *network.options(), catalog]) == NETWORK
    assert "no relay carries this app; ask its operator" in capsys.readouterr().out
    network.down = {0, 1}
    assert owner.publish(*network.options()) == NETWORK
    assert "check the address, or use --offline" in capsys.readouterr().err


def test_without_a_catalog_the_record_is_renewed(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    publish = ["namespace", "publish", "--key", str(owner.key), *network.options()]
    assert main(publish) == LOCAL
    assert "name a CATALOG" in capsys.readouterr().err
    assert not (owner.folder / "app.record").exists()
    assert owner.publish(*network.options()) == OK
    first = owner.record
    assert main(publish) == OK
    assert owner.record.catalogs == first.catalogs
    assert owner.record.time > first.time


def test_the_only_catalog_can_be_delisted_and_that_can_be_repeated(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    publish = ["namespace", "publish", "--key", str(owner.key), *network.options()]
    delist = [*publish, "--delist", str(owner.folder / "app.cbor")]
    assert owner.publish(*network.options()) == OK
    assert main([*delist, "--in", "30d"]) == OK
    ended = owner.record.listings[owner.catalog.id].delisted
    assert ended is not None
    assert main(delist) == OK
    assert main(publish) == OK
    assert owner.record.listings[owner.catalog.id].delisted == ended
    assert main([*delist, "--in", "40d"]) == LOCAL
    assert "delisted from" in capsys.readouterr().err
    other = owner.sign("next.cbor", owner.catalog)
    assert main([*publish, "--delist", str(owner.folder / "next.cbor")]) == LOCAL
    assert f"{other.id.hex()[:16]} is not listed" in capsys.readouterr().err


def test_a_record_that_lists_no_catalog_is_warned_of(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = ["--catalog", str(owner.folder / "app.cbor")]
    assert owner.revoke("--offline", "signin", *catalog) == OK
    said = capsys.readouterr().out
    assert "warning: it lists no catalog, so no report counts: methrics namespace publish" in said
    assert owner.publish("--offline") == OK
    assert "warning" not in capsys.readouterr().out


def test_attack_another_file_for_the_record_does_not_hide_the_one_beside_the_key(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = ["--catalog", str(owner.folder / "app.cbor")]
    assert owner.publish("--offline") == OK
    assert owner.revoke("--offline", "signin", *catalog) == OK
    out = owner.folder / "other.record"
    capsys.readouterr()
    assert owner.publish("--offline", "--out", str(out), "--json") == OK
    said = json.loads(capsys.readouterr().out)
    assert [word for word in said["warnings"] if "app.record stays as it is" in word]
    assert set(decode_record(load_record(out).payload).revoked) == {"signin"}
    foreign = sign_record([], b"o" * 32, time=1, expires=DAY).raw
    (owner.folder / "app.record").write_bytes(foreign)
    assert owner.publish("--offline", "--out", str(out), "--json") == OK
    assert json.loads(capsys.readouterr().out)["warnings"] == []


def test_who_gives_the_record_to_one_relay_is_told_whose_reports_wait(
    owner: Owner, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    assert owner.publish(*network.options(0)) == OK
    assert "apps that know two wait until a second has it" in capsys.readouterr().out
    assert owner.publish(*network.options()) == OK
    assert "apps that know two" not in capsys.readouterr().out
