"""Envelopes of stock packages in JavaScript and ours open each other, in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.interop import javascript

from methrics.node.ohttp.envelope import open_box, seal
from methrics.node.ohttp.inner import (
    ANSWER_SIZE,
    BOX,
    BOX_SIZE,
    DESCRIPTORS,
    RECORDS,
    Answer,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
)
from methrics.node.ohttp.key_config import ExitKey, decode_key_config, encode_key_config
from methrics.schema.wire.codec import decode, encode
from methrics.schema.wire.limits import ITEM_MAX
from methrics.schema.wire.verdict import Reason

SEED = bytes(range(32))
KEY = ExitKey.from_seed(9, SEED)
QUESTIONS = [
    (BOX, b""),
    (BOX, b"r" * 225),
    (BOX, bytes(range(256)) * 4),
    (BOX, bytes(ITEM_MAX)),
    (RECORDS, b"/methrics/1/example/cbor"),
    (DESCRIPTORS, b""),
]
ANSWERS = [
    Answer(Reason.OK, 1_800_000_000),
    Answer(Reason.QUOTA, 1_800_000_000, again=600),
    Answer(Reason.OK, 1_800_000_000, items=(b"record" * 100, b"another")),
]


def test_both_derive_the_same_key_from_a_seed(stock: Path) -> None:
    (made,) = javascript.run(
        stock, "peer.mjs", lines=[{"task": "key", "id": 9, "seed": SEED.hex()}]
    )
    assert bytes.fromhex(made["config"]) == encode_key_config(KEY.config)
    assert decode_key_config(bytes.fromhex(made["config"])) == KEY.config


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_client_in_javascript_asks_our_exit(stock: Path, answer: Answer) -> None:
    config = encode_key_config(KEY.config).hex()
    asked = [
        {"task": "seal", "config": config, "resource": resource, "content": content.hex()}
        for resource, content in QUESTIONS
    ]
    sealed = javascript.run(stock, "peer.mjs", lines=asked)
    response = encode_answer(answer, box=not answer.items)
    read = []
    for (resource, content), one in zip(QUESTIONS, sealed, strict=True):
        opened = open_box(bytes.fromhex(one["box"]), {9: KEY})
        question = decode_question(opened.message)
        assert (question.resource, question.content) == (resource, content)
        kept = {"secret": one["secret"], "enc": one["enc"]}
        read.append({"task": "open", **kept, "answer": opened.seal(response).hex()})
    assert {len(one["box"]) // 2 for one in sealed[:3]} == {BOX_SIZE}
    for said in javascript.run(stock, "peer.mjs", lines=read):
        assert said["status"] == 200
        value = decode(bytes.fromhex(said["content"]), limit=10_000)
        assert isinstance(value, dict)
        assert value["answer"] == answer.reason
        assert value.get("items", []) == list(answer.items)


def test_our_client_asks_an_exit_in_javascript(stock: Path) -> None:
    content = encode({"answer": "duplicate", "time": 1_800_000_000})
    asked, kept = [], []
    for resource, item in QUESTIONS:
        kept.append(seal(KEY.config, encode_question(resource, item)))
        asked.append(
            {
                "task": "serve",
                "seed": SEED.hex(),
                "box": kept[-1].box.hex(),
                "content": content.hex(),
                "size": ANSWER_SIZE,
            }
        )
    served = javascript.run(stock, "peer.mjs", lines=asked)
    for (resource, item), sealed, one in zip(QUESTIONS, kept, served, strict=True):
        assert (one["method"], one["url"]) == ("POST", f"https://methrics.invalid{resource}")
        assert bytes.fromhex(one["content"]) == item
        answer = decode_answer(sealed.open(bytes.fromhex(one["answer"])))
        assert answer == Answer(Reason.DUPLICATE, 1_800_000_000)
