"""KFP component of the step `resolve`: a thin shell over `components.steps.resolve`."""

from typing import NamedTuple

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def resolve_component(  # type: ignore[no-untyped-def]
    revision: str, champion: str, overrides: str, run_id: str, code: str
) -> NamedTuple("Resolved", [("revision", str), ("champion", str), ("overrides", str)]):  # type: ignore[valid-type]
    from components import shell
    from components.steps import resolve as room

    with shell.step("resolve", code, run=run_id) as came:
        resolved = room.resolve(revision, champion, overrides)
        came["revision"] = resolved[0]
    return resolved
