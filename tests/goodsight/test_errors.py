"""Errors say what happened and what to do next, and their exit code says whether a retry helps."""

from __future__ import annotations

import pytest

from goodsight.errors import ERRORS, BusyError, GoodsightError, InputError, IntegrityError, RefusedError


def test_an_error_reads_as_a_sentence_and_a_hint() -> None:
    assert str(InputError("Size 'huge' is unknown.", "Choose tiny.")) == "Size 'huge' is unknown.\nhint: Choose tiny."
    assert str(InputError("Size 'huge' is unknown.")) == "Size 'huge' is unknown."


@pytest.mark.parametrize(
    "kind, code", [(GoodsightError, 1), (InputError, 2), (RefusedError, 3), (IntegrityError, 3), (BusyError, 75)]
)
def test_exit_codes_are_a_contract(kind: type[GoodsightError], code: int) -> None:
    assert kind("x").exit_code == code
    assert ERRORS[kind.__name__] is kind
