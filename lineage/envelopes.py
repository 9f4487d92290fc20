"""DSSE envelopes: a JSON value with the signature of this home's key over its bytes and its type.

https://github.com/secure-systems-lab/dsse: `payload` (base64), `payloadType` and `signatures`, whose `keyid` is the key's
fingerprint. Any DSSE tool verifies one; so do a few lines of `cryptography`.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from goodsight.digests import canonical_json
from goodsight.errors import IntegrityError
from lineage import keys


def seal(value: Any, payload_type: str) -> dict[str, Any]:
    """The envelope of `value`, signed by the key that signs now."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = keys.private_key()
    payload = canonical_json(value).encode()
    signature = key.sign(_covered(payload_type, payload), ec.ECDSA(hashes.SHA256()))
    return _envelope(payload, payload_type, keys.fingerprint(key.public_key()), signature)


def unseal(envelope: Any, payload_type: str, name: object) -> tuple[Any, str]:
    """The value in an envelope and the fingerprint of its signer; `name` is what an error calls the envelope, its file say.

    Raises `IntegrityError` when it is not as it was sealed, is of another type, or its key is not trusted.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    hint = "Restore it from a backup."
    try:
        (signed,) = envelope["signatures"]
        signer, payload, signature = str(signed["keyid"]), base64.b64decode(envelope["payload"]), base64.b64decode(signed["sig"])
        key = load_pem_public_key(keys.public_key(signer, name).read_bytes())
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("not by a key on an elliptic curve")
        key.verify(signature, _covered(payload_type, payload), ec.ECDSA(hashes.SHA256()))
        if envelope != _envelope(payload, payload_type, signer, signature):
            raise ValueError("written in another way than it was sealed")
        return json.loads(payload), signer
    except (InvalidSignature, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{name} is not as it was sealed: {type(error).__name__}: {error}.", hint) from error


def _envelope(payload: bytes, payload_type: str, signer: str, signature: bytes) -> dict[str, Any]:
    signed = {"keyid": signer, "sig": base64.b64encode(signature).decode()}
    return {"payload": base64.b64encode(payload).decode(), "payloadType": payload_type, "signatures": [signed]}


def _covered(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)
