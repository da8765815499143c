"""`methrics.node.open` with unusable arguments and odd homes: it never raises, and says why."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import methrics.node
from methrics.node.process import exits
from methrics.schema.errors import CatalogError, ConfigError, LocalError
from methrics.schema.example import example_bytes
from methrics.schema.wire.limits import CATALOG_MAX

if TYPE_CHECKING:
    from conftest import Shop


@pytest.fixture(autouse=True)
def quiet() -> None:
    exits._state["warned"] = False


class Hostile:
    """An argument whose own methods raise."""

    def _refuse(self, *args: object) -> Any:
        raise ZeroDivisionError("the argument's own error")

    __iter__ = __len__ = __bool__ = __fspath__ = __eq__ = __call__ = _refuse
    keys = items = _refuse
    __hash__ = object.__hash__


class Unprintable(Hostile):
    """An argument that cannot even be shown."""

    __repr__ = __str__ = __format__ = Hostile._refuse  # type: ignore[assignment]


HOSTILE = Hostile()

ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.sampled_from(
        [HOSTILE, object(), Hostile, print, [None], [7], {7: 7}, {"a": 0}, "\0", "\ud800"]
    ),
    st.lists(st.one_of(st.text(max_size=4), st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=4), st.one_of(st.integers(), st.text(max_size=2)), max_size=2),
)

NAMES = (
    "app_version",
    "environment",
    "sampling",
    "publisher",
    "strict",
    "relays",
    "clock",
    "rng",
    "policy",
)


def use(recorder: methrics.node.Recorder) -> None:
    """Calls each method that an app calls; none may raise."""
    assert recorder.record("heartbeat", os="linux") is False
    assert recorder.count("module", 2, name="x") is False
    with recorder.sequence("signin") as sequence:
        sequence.step("shown")
    assert recorder.facts("heartbeat") == {}
    recorder.questions(starts=99, used_seconds=1e6)
    recorder.statistics()
    recorder.close()


@given(arguments=st.dictionaries(st.sampled_from(NAMES), ANY), catalog=st.one_of(ANY, st.none()))
@example(arguments={"relays": None}, catalog=None)
@example(arguments={"sampling": []}, catalog=None)
@example(arguments={"relays": HOSTILE, "sampling": HOSTILE}, catalog=None)
@example(arguments={"relays": count()}, catalog=None)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_argument_makes_open_raise(
    tmp_path: Path, arguments: dict[str, object], catalog: object
) -> None:
    given_catalog = example_bytes() if catalog is None else catalog
    found = {"home": tmp_path / "home", "publisher": "none", **arguments}
    if found.pop("strict", False) is not True:
        use(methrics.node.open(given_catalog, **found))  # type: ignore[arg-type]
    try:
        methrics.node.open(given_catalog, strict=True, **found)  # type: ignore[arg-type]
    except LocalError as error:
        assert error.code
    assert not (tmp_path / "home").exists()


@given(home=ANY)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_home_makes_open_raise(monkeypatch: pytest.MonkeyPatch, home: object) -> None:
    use(methrics.node.open(example_bytes(), home=home, publisher="none"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("app_version", 1.4),
        ("environment", None),
        ("sampling", ["signin"]),
        ("sampling", {"signin": True}),
        ("publisher", None),
        ("publisher", ["none"]),
        ("strict", "yes"),
        ("relays", "/ip4/192.0.2.7/tcp/1/p2p/12D3KooW"),
        ("relays", [b"/ip4/192.0.2.7/tcp/1/p2p/12D3KooW"]),
        ("relays", 7),
        ("clock", 7),
        ("rng", 0.5),
        ("policy", 1),
        ("home", 7),
        ("home", "\0"),
        ("sampling", HOSTILE),
    ],
)
def test_a_wrong_type_is_counted_and_raised_if_strict(app: Shop, name: str, value: object) -> None:
    app.allow()
    recorder = app.open(**{name: value})
    assert recorder.statistics().dropped == {"bad-setting": 1}
    assert not recorder.record("view", size=1)
    if name != "strict":
        with pytest.raises(ConfigError):
            app.open(**{"strict": True, name: value})


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("odd", [None, 7, [], {}, HOSTILE, Unprintable(), float("nan"), "\ud800"])
def test_no_argument_makes_a_method_raise(app: Shop, odd: Any, allowed: bool) -> None:
    if allowed:
        app.allow()
    recorder = app.open()
    assert recorder.record("view", size=1) is allowed
    assert recorder.record(odd) is False
    assert recorder.count(odd) is False
    recorder.record("view", size=odd, color=odd)
    recorder.count("click", odd, color=odd)
    recorder.sequence(odd).step(odd)
    with recorder.sequence("buy", color=odd) as sequence:
        sequence.step(odd)
        sequence.set(color=odd)
    assert recorder.facts(odd) == {}
    recorder.questions(starts=odd, used_seconds=odd)
    recorder.ask(starts=odd, used_seconds=odd, examples=odd)
    recorder.statistics()
    recorder.close()


def test_an_argument_that_cannot_be_shown(app: Shop) -> None:
    for wrong in ({"publisher": Unprintable()}, {"sampling": {Unprintable(): 0}}):
        assert app.open(**wrong).statistics().dropped == {"bad-setting": 1}


@pytest.mark.parametrize("missing", [{"relays": None}, {"sampling": None}, {"strict": None}])
def test_a_setting_that_a_configuration_lacks_is_the_default(
    app: Shop, missing: dict[str, object]
) -> None:
    app.allow()
    assert app.open(**missing).record("view", size=1)


def test_a_home_in_bytes_is_a_home(app: Shop) -> None:
    app.allow()
    assert app.paths.home is not None
    assert app.open(home=os.fsencode(app.paths.home)).record("view", size=1)


def test_a_mistyped_name_in_sampling_is_counted_and_a_near_name_is_given(app: Shop) -> None:
    app.allow()
    recorder = app.open(sampling={"veiw": 10})
    assert recorder.statistics().dropped == {"unknown-type": 1}
    assert recorder.record("view", size=1)
    with pytest.raises(ConfigError, match=r"'veiw' \(did you mean view\?\)"):
        app.open(strict=True, sampling={"veiw": 10})
    with pytest.raises(ConfigError, match=r"declared: .*view"):
        app.open(strict=True, sampling={"zzz": 10})


def test_the_settings_are_copied(app: Shop) -> None:
    app.allow()
    sampling: dict[str, int] = {}
    recorder = app.open(sampling=sampling)
    sampling["view"] = 1000
    assert all(recorder.record("view", size=1) for _ in range(20))


def test_an_interrupt_passes(app: Shop) -> None:
    class Interrupting:
        def __fspath__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        methrics.node.open(Interrupting())


@pytest.fixture
def gone(tmp_path: Path) -> Iterator[Path]:
    """A working directory that is removed."""
    before, folder = Path.cwd(), tmp_path / "gone"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    yield folder
    os.chdir(before)


def test_the_working_directory_was_removed(app: Shop, gone: Path) -> None:
    app.allow()
    assert app.open().record("view", size=1), "an absolute home needs no working directory"
    assert app.open(home="data").statistics().dropped == {"no-home": 1}
    assert methrics.node.open("app.cbor").statistics().dropped == {"catalog-unread": 1}


def test_a_relative_home_does_not_move_with_the_working_directory(
    app: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app.allow()
    recorder = app.open(home="home")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert recorder.record("view", size=1)
    assert len(app.journal.pending(1 << 40).rows) == 1
    assert os.listdir() == []


@pytest.mark.parametrize("kind", ["empty", "folder", "fifo", "device", "huge", "noise"])
def test_an_odd_catalog_file(app: Shop, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "catalog.cbor"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 30)
    else:
        path.write_bytes(b"" if kind == "empty" else b"\xff" * 100)
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    recorder = methrics.node.open(path, home=tmp_path)
    assert recorder.record("view") is False
    assert sum(recorder.statistics().dropped.values()) == 1
    with pytest.raises(LocalError) as raised:
        methrics.node.open(path, home=tmp_path, strict=True)
    if kind in ("folder", "fifo", "device"):
        assert isinstance(raised.value, CatalogError)
        assert raised.value.code == "catalog-unread"
    assert len(os.listdir("/dev/fd")) <= before, "no descriptor stays open"


def test_a_catalog_file_is_read_up_to_its_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "large.cbor"
    path.write_bytes(bytes(CATALOG_MAX + 1))
    with pytest.raises(CatalogError, match=f"an item of {CATALOG_MAX + 1} bytes"):
        methrics.node.open(path, home=tmp_path, strict=True)


def test_a_catalog_through_a_link(app: Shop, tmp_path: Path) -> None:
    (tmp_path / "real.cbor").write_bytes(app.catalog.raw)
    link = tmp_path / "link.cbor"
    link.symlink_to(tmp_path / "real.cbor")
    assert stat.S_ISLNK(link.lstat().st_mode)
    assert methrics.node.open(link, home=tmp_path).namespace == app.namespace


def test_an_error_of_a_catalog_file_names_the_file(app: Shop, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.cbor"
    wrong.write_bytes(b"not a catalog")
    with pytest.raises(CatalogError, match=r"wrong\.cbor: not a valid signed catalog"):
        methrics.node.open(wrong, app_version="1", home=tmp_path, strict=True)
