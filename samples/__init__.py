"""The embedded sample: a whole five-modality catalogue small enough to ship.

`furniture()` gives its folder. `make_furniture.py` is the script that made it from Debian's
package `sweethome3d-furniture`; the `_*.py` modules are its parts and are not needed to use the sample.
"""

from __future__ import annotations

from pathlib import Path


def furniture() -> Path:
    """Folder of the furniture catalogue: `products.jsonl`, queries, media, licences."""
    return Path(__file__).resolve().parent / "furniture"
