"""The room as a whole: it never loads torch, so verdicts and the ledger can be read anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_lineage_never_imports_torch(tmp_path: Path) -> None:
    code = (
        "import sys, lineage.ledger, lineage.gate, lineage.champion, lineage.documents, lineage.mlbom, lineage.openlineage;"
        "lineage.champion.registry.connect();"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "GOODSIGHT_HOME": str(tmp_path)})
