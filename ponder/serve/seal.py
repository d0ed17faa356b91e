"""Thoughts that a client keeps for us: sealed, so that it can neither read nor change them."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from ponder.serve.refusal import invalid
from ponder.types import Block


@dataclass(frozen=True)
class Seal:
    """A server's own: what one has sealed, another one cannot open."""

    secret: bytes = field(repr=False)
    """32 bytes."""

    def seal(self, blocks: Sequence[Block], owner: str) -> str:
        """A thought as ``encrypted_content``; for one owner's use alone."""
        told = {"owner": owner, "blocks": [asdict(block) for block in blocks]}
        return self._fernet.encrypt(json.dumps(told).encode("ascii")).decode("ascii")

    def open(self, text: str, owner: str, where: str) -> list[Block]:
        """The thought in what a client sends back; raises Refusal where it is not ours, or not this owner's."""
        try:
            told: dict[str, Any] = json.loads(self._fernet.decrypt(text.encode("ascii", "replace")))
        except InvalidToken:
            told = {}
        if told.get("owner") != owner:
            message = f"The encrypted content {text[:12]}... in '{where}' could not be verified."
            raise invalid(message, where, "invalid_encrypted_content")
        return [Block(**block) for block in told["blocks"]]

    @property
    def _fernet(self) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(self.secret))
