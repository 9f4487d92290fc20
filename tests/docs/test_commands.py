"""Every command that the documentation shows works: run here, or in the end-to-end test when it needs a served model."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from goodsight.digests import HOUSE
from tests.docs.blocks import NEEDS, PAGES, Block, blocks, run, stand_in

BLOCKS = blocks()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in(tmp_path_factory.mktemp("documentation") / "goodsight")


def of(needs: str) -> list[Block]:
    return [block for block in BLOCKS if block.needs == needs]


def test_every_block_says_what_it_needs_in_a_word_that_a_test_knows() -> None:
    assert of("") and of("served") and of("setup")
    assert {str(block): block.needs for block in BLOCKS if block.needs not in NEEDS} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(HOUSE).as_posix())
def test_no_shell_block_hides_under_another_name(page: Path) -> None:
    fences = re.findall(r"^```(\S*)", page.read_text(), re.MULTILINE)
    assert not {"sh", "shell", "console", "zsh"} & set(fences)
    assert page.read_text().count("```bash") == len([block for block in BLOCKS if block.page == page.relative_to(HOUSE).as_posix()])


@pytest.mark.parametrize("block", of(""), ids=str)
def test_the_commands_of_a_clone_with_an_empty_home_work(block: Block, clone: Path) -> None:
    done = run(block, clone)
    assert done.returncode == 0, f"{block}\n{block.commands}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


@pytest.mark.kubectl
@pytest.mark.parametrize("block", of("kubectl"), ids=str)
def test_the_commands_that_need_a_kubectl_work(block: Block, clone: Path, rendered: dict) -> None:
    done = run(block, clone)
    assert done.returncode == 0, f"{block}\n{block.commands}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


@pytest.mark.parametrize("block", of("cluster"), ids=str)
def test_what_the_commands_for_a_cluster_name_is_in_the_manifests(block: Block) -> None:
    assert subprocess.run(["bash", "-n", "-c", block.commands], check=False).returncode == 0
    assert all((HOUSE / folder).is_dir() for folder in re.findall(r"-k (\S+)", block.commands))
    objects = [each for path in (HOUSE / "k8s" / "base").glob("*.yaml") for each in yaml.safe_load_all(path.read_text())]
    there = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in objects if "metadata" in each}
    assert set(re.findall(r"-n goodsight .*?((?:deployment|service|cronjob)/[\w-]+)", block.commands)) <= there


@pytest.mark.parametrize("block", of("setup"), ids=str)
def test_set_up_blocks_name_targets_of_the_makefile(block: Block) -> None:
    lines = [shlex.split(line, comments=True) for line in block.commands.splitlines()]
    makes = [line for line in lines if line[:1] == ["make"]]
    assert makes
    for line in makes:
        done = subprocess.run(["make", "--dry-run", *line[1:]], cwd=HOUSE, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
