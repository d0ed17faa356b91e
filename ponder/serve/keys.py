"""API keys, of which only hashes are ever stored."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path

from ponder.errors import ConfigError


@dataclass(frozen=True)
class Keys:
    """The SHA-256 digests of the keys that are let in."""

    digests: tuple[bytes, ...]

    def owner(self, authorization: str | None) -> str | None:
        """Whose key an Authorization header carries, by the key's digest; None where it is none of them.

        Takes as long for each of them.
        """
        scheme, _, key = (authorization or "").partition(" ")
        given = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        right = [digest.hex() for digest in self.digests if hmac.compare_digest(given, digest)]
        return right[0] if right and scheme.lower() == "bearer" else None


def read_keys(path: Path) -> Keys:
    """A file with one digest a line, in hexadecimal; what follows it, and lines that begin with #, are notes."""
    digests: list[bytes] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        if not re.fullmatch("[0-9a-fA-F]{64}", words[0]):
            raise ConfigError(
                f"{path}, line {number} is no SHA-256 digest: keys are not stored as they are, so write what "
                "`printf %s KEY | sha256sum` prints"
            )
        digests.append(bytes.fromhex(words[0]))
    if not digests:
        raise ConfigError(f"{path} holds no key: add a line, what `printf %s KEY | sha256sum` prints")
    return Keys(tuple(digests))
