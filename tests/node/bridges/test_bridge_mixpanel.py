"""The official Mixpanel client with our consumer: which events and properties are recorded."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mixpanel import BufferedConsumer, Mixpanel, MixpanelException

import methrics.node
from methrics.node.bridges.mixpanel import Consumer, Steps
from methrics.node.bridges.naming import IDENTIFIERS, field_name, type_name
from methrics.node.clock import ManualClock
from methrics.node.outbox.periods import DAY
from methrics.node.paths import Paths
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.fields import RESERVED_NAMES
from methrics.schema.errors import LocalError
from methrics.schema.wire.codec import decode
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report, decode_report
from methrics.schema.wire.reading import is_name

if TYPE_CHECKING:
    from conftest import Post, Shop

TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
WHO = "jane.doe@example.org"
ADDRESS = "17 Rosebud Lane"


@pytest.fixture
def agreed(app: Shop) -> Shop:
    app.allow()
    return app


def client(app: Shop, **options: object) -> tuple[Mixpanel, Consumer]:
    """The client as an app makes it, and our consumer."""
    consumer = Consumer(app.recorder, **options)  # type: ignore[arg-type]
    return consumer.adopt(Mixpanel(TOKEN, consumer=consumer)), consumer


def rows(app: Shop) -> list[tuple[str, object]]:
    """The rows in the outbox, sorted: type and values."""
    journal = app.journal
    found = journal.pending(app.clock.now() + 400 * DAY, 1000).rows if journal.exists() else []
    journal.close()
    return sorted(((row.type, decode(row.fields, limit=1024)) for row in found), key=repr)


def reports(post: Post) -> list[Report]:
    """All bytes that left."""
    return [decode_report(split(raw).payload) for raw in post.sent]


def test_without_consent_nothing_is_recorded_and_no_file_is_made(app: Shop) -> None:
    mp, consumer = client(app, active=("visit",), sequences={"buy": {"Shown": "shown"}})
    mp.track(WHO, "view", {"color": "red"})
    mp.track(WHO, "Shown")
    assert rows(app) == []
    assert not Path(app.paths.data).exists()
    assert consumer.statistics().recorded == 0
    assert consumer.statistics().dropped == {"not-recorded": 2}


def test_an_event_goes_to_the_type_and_the_fields_of_its_name(agreed: Shop) -> None:
    mp, consumer = client(agreed)
    mp.track(WHO, "View", {"Color": "red", "size": 42.5, "version": 1.4})
    mp.track(WHO, "view", {"color": "a color of its own"})
    assert rows(agreed) == [
        ("view", {"color": "other"}),
        ("view", {"size": 1, "color": "red", "version": "1.4"}),
    ]
    found = consumer.statistics()
    assert (found.recorded, found.dropped) == (2, {})
    # What the client itself adds to every event: token, distinct_id, time, $insert_id; and mp_lib,
    # $lib_version.
    assert found.left_out == {"identifier": 8, "reserved": 4}


def test_an_explicit_mapping_comes_before_the_rule(agreed: Shop) -> None:
    mp, consumer = client(
        agreed,
        names={"Page – looked at": "view", "Click": "view"},
        properties={"$os": "color", "Breite": "size"},
    )
    mp.track(WHO, "Page – looked at", {"$os": "green", "Breite": 5})
    mp.track(WHO, "Click", {"color": "red", "$browser": "green"})
    assert rows(agreed) == [("view", {"color": "red"}), ("view", {"size": 0, "color": "green"})]
    assert consumer.statistics().left_out == {"identifier": 8, "reserved": 5}


def test_a_count_is_summed_and_may_have_an_amount(agreed: Shop) -> None:
    mp, consumer = client(agreed, amounts={"Clicked": "times"}, names={"Clicked": "click"})
    for _ in range(3):
        mp.track(WHO, "click", {"color": "red"})
    mp.track(WHO, "Clicked", {"color": "red", "times": 4})
    for wrong in (0, -1, "4", None, True, float("nan")):
        mp.track(WHO, "Clicked", {"color": "red", "times": wrong})
    journal = agreed.journal
    (row,) = journal.pending(agreed.clock.now() + 400 * DAY, 10).rows
    journal.close()
    assert row.total == 7
    assert consumer.statistics().dropped == {"no-amount": 6}


def test_an_active_type_is_recorded_once_a_day(agreed: Shop) -> None:
    mp, consumer = client(agreed, active=("visit",))
    for _ in range(2):
        mp.track(WHO, "An event of no type", {"color": "green"})
        mp.track(WHO, "Another", {"color": "red"})
        agreed.clock.advance(DAY)
    visits = [values for name, values in rows(agreed) if name == "visit"]
    assert visits
    assert all(values == {"color": "green"} for values in visits), "the first of each day"
    assert consumer.statistics().dropped == {"unknown-event": 4}


FUNNEL = {"Dialogue shown": "shown", "Paid": "paid", "Left": "left"}


def test_successive_events_are_the_steps_of_one_report(agreed: Shop, post: Post) -> None:
    how = Steps(FUNNEL, ends=("Paid", "Left"))
    mp, consumer = client(agreed, sequences={"buy": how})
    mp.track(WHO, "Dialogue shown", {"color": "red"})
    agreed.clock.advance(7)
    mp.track(WHO, "Paid", {"size": 50})
    mp.track(WHO, "Left")
    assert consumer.statistics().dropped == {"no-interaction": 1}
    post.live(3 * DAY)
    (report,) = reports(post)
    assert report.sequence == (("shown", 0), ("paid", 1))
    assert report.values == {"color": "red", "size": 1}


def test_people_in_one_process_do_not_share_an_interaction(agreed: Shop, post: Post) -> None:
    mp, _ = client(agreed, sequences={"buy": FUNNEL})
    for who in ("a", "b"):
        mp.track(who, "Dialogue shown")
    for who in ("a", "b"):
        mp.track(who, "Left")
    post.live(3 * DAY)
    assert [one.sequence for one in reports(post)] == [(("shown", 0), ("left", 0))] * 2


def test_an_interaction_ends_when_it_begins_again_when_time_is_up_and_at_exit(
    agreed: Shop, post: Post
) -> None:
    mp, consumer = client(agreed, sequences={"buy": Steps(FUNNEL, timeout=100)})
    mp.track(WHO, "Dialogue shown")
    mp.track(WHO, "Dialogue shown")
    assert len(rows(agreed)) == 1, "the first one"
    agreed.clock.advance(99)
    mp.track(WHO, "Paid")
    assert len(rows(agreed)) == 1
    agreed.clock.advance(1)
    consumer.flush()
    assert len(rows(agreed)) == 2
    mp.track(WHO, "Paid")
    assert consumer.statistics().dropped == {"no-interaction": 1}
    mp.track(WHO, "Dialogue shown")
    agreed.recorder.close()
    post.live(3 * DAY)
    assert sorted(one.sequence or () for one in reports(post)) == [
        (("shown", 0),),
        (("shown", 0),),
        (("shown", 0), ("paid", 2)),
    ]


def test_an_event_may_be_a_step_and_an_event_of_its_own(agreed: Shop) -> None:
    mp, _ = client(agreed, sequences={"buy": {"View": "shown", "Done": "paid"}})
    mp.track(WHO, "View", {"color": "red"})
    mp.track(WHO, "Done")
    assert rows(agreed) == [("buy", {"color": "red"}), ("view", {"color": "red"})]


def everything(mp: Mixpanel) -> None:
    """Calls every method of the client that could send something."""
    mp.people_set(WHO, {"$name": ADDRESS, "color": "red"})
    mp.people_set_once(WHO, {"color": "red"})
    mp.people_increment(WHO, {"size": 1})
    mp.people_append(WHO, {"color": "red"})
    mp.people_union(WHO, {"color": ["red"]})
    mp.people_unset(WHO, ["color"])
    mp.people_remove(WHO, {"color": "red"})
    mp.people_delete(WHO)
    mp.people_track_charge(WHO, 10)
    mp.people_clear_charges(WHO)
    mp.people_update({"$distinct_id": WHO, "$set": {"color": "red"}})
    mp.group_set("company", ADDRESS, {"color": "red"})
    mp.group_set_once("company", ADDRESS, {"color": "red"})
    mp.group_union("company", ADDRESS, {"color": ["red"]})
    mp.group_unset("company", ADDRESS, ["color"])
    mp.group_remove("company", ADDRESS, {"color": "red"})
    mp.group_delete("company", ADDRESS)
    mp.group_update({"$group_key": "company", "$group_id": ADDRESS})
    mp.import_data(None, WHO, "view", 1_700_000_000, {"color": "red"})
    mp.merge(None, WHO, "another")
    mp.alias(ADDRESS, WHO)
    mp.track(WHO, "$identify", {"$identified_id": WHO, "$anon_id": ADDRESS})


def test_profiles_groups_imports_and_aliases_are_dropped_and_counted(agreed: Shop) -> None:
    mp, consumer = client(agreed)
    everything(mp)
    assert rows(agreed) == []
    assert consumer.statistics().recorded == 0
    assert consumer.statistics().dropped == {"people": 11, "groups": 7, "import": 2, "identity": 2}


def test_no_socket_is_opened_and_no_identifying_byte_is_stored_or_leaves(
    agreed: Shop, post: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    class Refusing(socket.socket):
        def __init__(self, *args: object, **kwargs: object) -> None:
            opened.append(args)
            raise AssertionError("a socket")

    mp, consumer = client(
        agreed, active=("visit",), sequences={"buy": FUNNEL}, properties={"token": "color"}
    )
    secret = {"address": ADDRESS, "$email": WHO, "$city": ADDRESS, "color": ADDRESS, "size": 314159}
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Refusing)
        patched.setattr(socket, "getaddrinfo", lambda *a, **k: opened.append(a))
        for event in ("view", "click", ADDRESS, *FUNNEL):
            mp.track(WHO, event, secret, meta={"note": ADDRESS})
        everything(mp)
        agreed.recorder.close()
    post.live(3 * DAY)
    assert opened == []
    assert {report.type for report in reports(post)} == {"view", "click", "visit", "buy"}
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 1
    assert b"color" in b"".join(post.sent)
    for bytes_ in (*kept, *post.sent):
        for word in (TOKEN, WHO, ADDRESS, "Rosebud", "314159"):
            assert word.encode() not in bytes_
            assert word.encode().hex().encode() not in bytes_
    assert {report.values.get("color", "other") for report in reports(post)} == {"other"}
    assert WHO not in repr(consumer.statistics()) + repr(agreed.recorder.statistics())
    assert agreed.recorder.statistics().dropped == {"wrong-mapping": 1}, "token is never mapped"


def test_the_stock_client_connects_for_an_alias_unless_adopted(
    agreed: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    def connect(address: object, *_: object, **__: object) -> None:
        tried.append(address)
        raise AssertionError("no network here")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    consumer = Consumer(agreed.recorder)
    with pytest.raises(MixpanelException):
        Mixpanel(TOKEN, consumer=consumer).alias("a", "b")
    assert tried == [("api.mixpanel.com", 443)]
    consumer.adopt(Mixpanel(TOKEN, consumer=consumer)).alias("a", "b")
    assert len(tried) == 1


def test_a_buffered_consumer_in_front_of_ours_hands_on_lists(agreed: Shop) -> None:
    consumer = Consumer(agreed.recorder)
    buffered = BufferedConsumer()
    buffered._consumer = consumer
    mp = Mixpanel(TOKEN, consumer=buffered)
    for color in ("red", "green"):
        mp.track(WHO, "view", {"color": color})
    buffered.flush()
    assert rows(agreed) == [("view", {"color": "green"}), ("view", {"color": "red"})]


@pytest.mark.parametrize(
    ("endpoint", "message", "reason"),
    [
        ("events", "{", "malformed"),
        ("events", "[" * 100_000, "malformed"),
        ("events", "null", "malformed"),
        ("events", '{"event": 1, "properties": {}}', "malformed"),
        ("events", '{"event": "view"}', "malformed"),
        ("events", '{"event": "view", "properties": {"size": ' + "9" * 5000 + "}}", "malformed"),
        ("events", '"' + "x" * 1_100_000 + '"', "oversize"),
        ("events", '{"event": "nothing", "properties": {}}', "unknown-event"),
        ("events", '{"event": "buy", "properties": {}}', "no-steps"),
        ("elsewhere", "{}", "unknown-endpoint"),
    ],
)
def test_invalid_messages_are_dropped_and_counted_by_reason(
    agreed: Shop, endpoint: str, message: str, reason: str
) -> None:
    consumer = Consumer(agreed.recorder)
    assert consumer.send(endpoint, message) is False
    assert consumer.statistics().dropped == {reason: 1}
    assert agreed.recorder.statistics().dropped == {}


def test_values_that_fit_no_field_are_left_out_and_the_rest_is_recorded(agreed: Shop) -> None:
    mp, consumer = client(agreed)
    wrong = {"color": ["red"], "size": float("nan"), "version": None, "shape": "round"}
    mp.track(WHO, "view", {**wrong, "Size": 5})
    assert rows(agreed) == [("view", {"size": 0})]
    left = consumer.statistics().left_out
    assert left == {"identifier": 4, "reserved": 2, "wrong-value": 2, "empty": 1, "undeclared": 1}


def test_properties_cannot_set_fields_that_the_node_fills_in(agreed: Shop) -> None:
    mp, consumer = client(agreed)
    mp.track(WHO, "visit", {"daily": True, "color": "red"})
    assert rows(agreed) == [("visit", {"color": "red"})]
    assert consumer.statistics().left_out["filled-in-by-the-node"] == 1


@given(
    st.text(max_size=20)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(json.dumps)
)
def test_no_message_raises_into_the_app(shop: Catalog, message: str) -> None:
    off = methrics.node.open(shop.raw, home="/nonexistent", clock=ManualClock(0), publisher="none")
    consumer = Consumer(off)
    for endpoint in ("events", "people", message):
        assert consumer.send(endpoint, message) is False
    assert off.statistics().dropped == {}


@pytest.mark.parametrize(
    "options",
    [
        {"names": {"View": "nothing"}},
        {"properties": {"distinct_id": "color"}},
        {"properties": {"Shade": "nothing"}},
        {"active": ("view",)},
        {"active": ("nothing",)},
        {"sequences": {"view": {"A": "shown"}}},
        {"sequences": {"nothing": {"A": "shown"}}},
        {"sequences": {"buy": {"A": "nothing"}}},
        {"sequences": {"buy": {}}},
        {"sequences": {"buy": Steps({"A": "shown"}, ends=("B",))}},
    ],
)
def test_a_wrong_mapping_raises_in_the_app_s_own_tests_only(
    agreed: Shop, options: dict[str, object]
) -> None:
    mp, consumer = client(agreed, **options)
    mp.track(WHO, "view", {"color": "red"})
    assert consumer.statistics().recorded == 1
    assert agreed.recorder.statistics().dropped == {"wrong-mapping": 1}
    agreed.recorder = agreed.open(strict=True)
    with pytest.raises(LocalError) as raised:
        Consumer(agreed.recorder, **options)  # type: ignore[arg-type]
    assert raised.value.code == "wrong-mapping"


def test_a_recorder_that_cannot_work_makes_a_consumer_that_does_nothing(
    paths: Paths, clock: ManualClock
) -> None:
    dead = methrics.node.open(b"no catalog", home=paths.home, clock=clock)
    consumer = Consumer(dead, names={"View": "view"}, active=("visit",))
    Mixpanel(TOKEN, consumer=consumer).track(WHO, "View")
    assert consumer.statistics().dropped == {"unknown-event": 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_does_not_record_interactions_of_its_parent(agreed: Shop) -> None:
    mp, consumer = client(agreed, sequences={"buy": FUNNEL})
    mp.track(WHO, "Dialogue shown")
    child = os.fork()
    if not child:
        mp.track(WHO, "Left")
        os._exit(0 if consumer.statistics().dropped == {"no-interaction": 1} else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert rows(agreed) == []
    mp.track(WHO, "Left")
    assert rows(agreed) == [("buy", {})]


def test_threads_share_a_consumer(agreed: Shop) -> None:
    mp, consumer = client(agreed, sequences={"buy": FUNNEL})

    def work(who: str) -> None:
        for _ in range(20):
            mp.track(who, "view", {"color": "red"})
            mp.track(who, "Dialogue shown")
            mp.track(who, "Left")

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A thread that finds the outbox busy waits briefly, and its event is counted as dropped.
    recorded, dropped, _ = consumer.statistics()
    assert recorded + dropped.pop("not-recorded", 0) == 240
    assert not dropped
    busy = agreed.recorder.statistics().dropped
    assert set(busy) <= {"outbox-busy"}
    found = [name for name, _ in rows(agreed)]
    assert (found.count("view") <= 80, found.count("buy") <= 80) == (True, True)
    assert len(found) == 160 - busy.get("outbox-busy", 0)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("Song Played", "song_played"),
        ("songPlayed", "song_played"),
        ("song-played!", "song_played"),
        ("HTTPRequest", "http_request"),
        ("Café ouvert", "cafe_ouvert"),
        ("  A  ", "a"),
        ("2nd step", None),
        ("登录", None),
        ("$mp_web_page_view", None),
        ("a" * 32, "a" * 32),
        ("a" * 33, None),
        ("A" * 300, None),
        ("", None),
    ],
)
def test_the_rule_for_names(event: str, name: str | None) -> None:
    assert type_name(event) == name
    assert field_name(event) == name


def test_reserved_field_names_get_an_underscore_and_identifiers_have_none() -> None:
    assert field_name("Count") == "count_"
    assert type_name("Count") == "count"
    assert field_name("mp_country_code") is None
    assert {field_name(key) for key in IDENTIFIERS} == {None}


@given(st.text(max_size=60))
def test_the_rule_gives_names_that_a_catalog_allows(text: str) -> None:
    for name in (type_name(text), field_name(text)):
        assert name is None or is_name(name)
    assert field_name(text) not in RESERVED_NAMES
    name = type_name(text)
    assert name is None or type_name(name) == name
