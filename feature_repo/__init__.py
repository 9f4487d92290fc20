"""Features: what training and serving know of a product or a query, defined once and read from one place (Feast).

Feast has typeguard rewrite its classes at import, which takes half of the time of `import feast`: in every step, command and
worker that reads a feature. Here it gets them back as they are; arguments are checked by what Feast's own code does with them.
"""

from __future__ import annotations

from typing import Any

try:
    import typeguard
except ImportError:  # the gateway's image has no Feast, and nothing in it asks for one
    pass
else:

    def _as_it_is(target: Any = None, **_: Any) -> Any:
        return _as_it_is if target is None else target

    typeguard.typechecked = _as_it_is
