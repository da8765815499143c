"""The published vectors of envelopes, and the numbers of SPEC.md's section 16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from request_vectors import V1, octets

from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import ANSWER_OVERHEAD, BOX_OVERHEAD, Sealed, open_box, seal
from methrics.node.ohttp.hpke import AEAD, KDF, KEM
from methrics.node.ohttp.inner import (
    Answer,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
)
from methrics.node.ohttp.key_config import (
    CONFIGS_MAX,
    SUITES_MAX,
    ExitKey,
    KeyConfig,
    decode_key_config,
    decode_key_configs,
)
from methrics.schema.errors import RefusedError
from methrics.schema.wire.limits import ITEM_MAX
from methrics.schema.wire.verdict import Reason

FOLDER = V1 / "envelopes"
SPEC = (V1.parents[1] / "SPEC.md").read_text("utf-8")
SECTION = SPEC.split("\n## 16. ")[1].split("\n## ")[0]


def vector(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def names(kind: str) -> list[str]:
    found = sorted(path.stem for path in FOLDER.glob(f"{kind}-*.json"))
    assert found, kind
    return found


def test_every_vector_is_of_a_kind_that_some_test_reads() -> None:
    assert {path.stem.partition("-")[0] for path in FOLDER.glob("*.json")} == {
        "keys",
        "box",
        "answer",
    }


@pytest.mark.parametrize("name", names("keys"))
def test_key_configurations_are_read_as_the_vector_says(name: str) -> None:
    given = vector(name)
    expect = given["expect"]
    if expect["result"] != "ok":
        with pytest.raises(RefusedError) as refused:
            decode_key_configs(octets(given["keys"]))
        assert refused.value.code == expect["result"]
        return
    assert decode_key_configs(octets(given["keys"])) == [
        KeyConfig(
            one["key_id"],
            octets(one["public"]),
            suites=tuple((kdf, aead) for kdf, aead in one["algorithms"]),
        )
        for one in expect["configs"]
    ]


@pytest.mark.parametrize("name", names("box"))
def test_a_box_is_opened_as_the_vector_says(name: str) -> None:
    given = vector(name)
    expect, box = given["expect"], octets(given["box"])
    keys = {key_id: ExitKey(key_id, octets(secret)) for key_id, secret in given["exits"]}
    if expect["result"] != "ok":
        with pytest.raises(RefusedError) as refused:
            decode_question(open_box(box, keys).message)
        assert refused.value.code == expect["result"]
        return
    opened = open_box(box, keys)
    question = decode_question(opened.message)
    assert (question.resource, question.content) == (expect["resource"], octets(expect["content"]))
    message = encode_question(question.resource, question.content)
    config, ephemeral = keys[opened.key_id].config, octets(given["ephemeral"])
    assert seal(config, message, ephemeral=ephemeral).box == box


def _sealed(given: dict[str, Any]) -> Sealed:
    config = decode_key_config(octets(given["config"]))
    message = encode_question(given["resource"], octets(given["content"]))
    return seal(config, message, ephemeral=octets(given["ephemeral"]))


@pytest.mark.parametrize("name", names("answer"))
def test_an_answer_is_opened_as_the_vector_says(name: str) -> None:
    given = vector(name)
    expect, sealed = given["expect"], _sealed(given)
    box = given["resource"] == inner.BOX
    if expect["result"] != "ok":
        with pytest.raises(RefusedError) as refused:
            decode_answer(sealed.open(octets(given["answer"])), box=box)
        assert refused.value.code == expect["result"]
        return
    response = sealed.open(octets(given["answer"]))
    answer = decode_answer(response, box=box)
    items = tuple(octets(one) for one in expect["items"])
    assert answer == Answer(Reason(expect["answer"]), expect["time"], expect["again"], items)
    if expect["again"] != inner.AGAIN_MAX:
        assert encode_answer(answer, box=box) == response


def test_the_specification_has_the_numbers_of_the_code() -> None:
    for number in (KEM, KDF, AEAD):
        assert f"| 0x{number:04x} |" in SECTION
    for number in (
        inner.BOX_SIZE,
        inner.BOX_MAX,
        inner.STEP,
        inner.QUESTION_MAX,
        ITEM_MAX,
        inner.ANSWER_STEP,
        inner.ANSWER_STEP << inner.ANSWER_DOUBLINGS,
    ):
        assert f"{number:,}" in SECTION
    assert f"up to {SUITES_MAX} suites and {CONFIGS_MAX}\nconfigurations" in SECTION
    assert f"A box has {BOX_OVERHEAD} bytes more" in SECTION
    assert f"An answer has {ANSWER_OVERHEAD} bytes more" in SECTION
    assert f"follow up to {inner.ANSWER_SIZE} bytes" in SECTION
    assert f"an answer to a box has {inner.ANSWER_SIZE + ANSWER_OVERHEAD} bytes" in SECTION
    assert all(f"| `{name}` |" in SECTION for name in (inner.BOX, inner.RECORDS, inner.DESCRIPTORS))


def test_the_specification_has_the_bytes_of_its_examples() -> None:
    given = vector("box-ok-report")
    box, content = octets(given["box"]), octets(given["expect"]["content"])
    keys = {key_id: ExitKey(key_id, octets(secret)) for key_id, secret in given["exits"]}
    message = open_box(box, keys).message
    head, _, rest = message.partition(content)
    worked = SECTION.replace(" ", "").replace("\n", "")
    assert f"`{box[:7].hex()}`" in worked
    assert f"`{head.hex()}`,{len(head)}bytes" in worked
    assert f"thereportof{len(content)}bytes" in worked
    assert f"then{len(rest):,}zerobytes" in worked
    assert not any(rest)
    given = vector("answer-ok-ok")
    response = _sealed(given).open(octets(given["answer"]))
    assert response.rstrip(b"\0").hex() + "0000...00" in worked
    assert len(octets(given["answer"])) == 32 + 144


def test_the_vectors_are_where_other_implementations_look() -> None:
    readme = (Path(FOLDER).parents[1] / "README.md").read_text("utf-8")
    assert "v1/envelopes/*.json" in readme
