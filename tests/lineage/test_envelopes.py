"""Envelopes: what comes out is what went in, by a key that is trusted, or nothing comes out."""

from __future__ import annotations

import base64
import json
import random

import pytest

from goodsight.errors import IntegrityError
from lineage import keys
from lineage.envelopes import seal, unseal

TYPE = "application/vnd.goodsight.test+json"


def test_a_value_comes_back_with_its_signer() -> None:
    assert unseal(seal({"seq": 3, "name": "möbel"}, TYPE), TYPE, "x") == ({"seq": 3, "name": "möbel"}, keys.current())


def test_a_changed_character_is_refused() -> None:
    text, draw = json.dumps(seal({"seq": 3}, TYPE)), random.Random(0)
    for _ in range(150):
        place = draw.randrange(len(text))
        altered = text[:place] + chr(ord(text[place]) ^ 1 << draw.randrange(7)) + text[place + 1 :]
        with pytest.raises((IntegrityError, ValueError)) as refused:
            unseal(json.loads(altered), TYPE, "the envelope")
        assert refused.type is not IntegrityError or "the envelope is" in str(refused.value)


@pytest.mark.parametrize("envelope", [None, [], {}, {"signatures": []}, {"signatures": [{}]}, {"signatures": [{"keyid": "../signing"}]}])
def test_what_is_no_envelope_is_refused(envelope: object) -> None:
    with pytest.raises(IntegrityError, match="the file"):
        unseal(envelope, TYPE, "the file")


def test_another_type_key_or_payload_is_refused() -> None:
    envelope, old = seal({"seq": 3}, TYPE), keys.current()
    with pytest.raises(IntegrityError, match="not as it was sealed"):
        unseal(envelope, TYPE + "x", "x")
    with pytest.raises(IntegrityError, match="not as it was sealed"):
        unseal({**envelope, "payload": base64.b64encode(b'{"seq":4}').decode()}, TYPE, "x")
    keys.rotate()
    assert unseal(envelope, TYPE, "x")[1] == old
    keys.distrust(old)
    with pytest.raises(IntegrityError, match="is by the key"):
        unseal(envelope, TYPE, "x")
