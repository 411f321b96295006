"""The keys of a transceiver: the password keys of its own region, by key id.

The password of every ufrag of that region derives from them, but of no other region's ufrag.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from firsthop_ice.key_material import KeyMaterial
from firsthop_ice.ufrag import (
    KEY_LENGTH,
    CredentialKeys,
    claims,
    password_for,
    region_password_key,
)

_HEX_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FORM = 'is not JSON of the form {"region": 7, "signing": 1, "password_keys": {"1": "hex"}}'


@dataclass(frozen=True, slots=True)
class RegionKeys:
    """A region's wire id (1..65535), and its password keys (32 bytes) by key id (0..63)."""

    region: int
    signing: int
    """The id of the key for new credentials."""
    by_id: Mapping[int, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for an id or a length out of range."""
        if not 1 <= self.region <= 0xFFFF:
            raise ValueError(f"region {self.region} is not within 1 to 65535")
        if not self.by_id:
            raise ValueError("needs at least one password key")
        for key_id, key in self.by_id.items():
            if not 0 <= key_id <= 63:
                raise ValueError(f"key id {key_id} is not within 0 to 63")
            if len(key) != KEY_LENGTH:
                raise ValueError(f"key {key_id} has {len(key)} bytes, not {KEY_LENGTH}")
        if self.signing not in self.by_id:
            raise ValueError(f"signing: there is no key {self.signing}")

    @classmethod
    def of(cls, keys: CredentialKeys, region: int) -> RegionKeys:
        """Derives the keys of the region with this wire id. Raises ValueError as the class does."""
        by_id = {key_id: region_password_key(m, region) for key_id, m in keys.masters.items()}
        return cls(region, keys.signing, by_id)

    @classmethod
    def from_keyset(cls, keyset: KeyMaterial, region: int) -> RegionKeys:
        """As `of`, from a snapshot of keys."""
        return cls.of(CredentialKeys.from_keyset(keyset), region)

    @classmethod
    def from_json(cls, text: str | bytes) -> RegionKeys:
        """Reads the output of `to_json`. Raises ValueError, which names the fault."""
        try:
            value = json.loads(text)
            region, signing = value["region"], value["signing"]
            members = value["password_keys"].items()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError(_FORM) from None
        for name, number in (("region", region), ("signing", signing)):
            if not isinstance(number, int) or isinstance(number, bool):
                raise ValueError(f"{name}: must be a number")
        for key_id, key in members:
            if not re.fullmatch(r"[0-9]{1,2}", key_id, re.ASCII):
                raise ValueError("password_keys: a key id is a number from 0 to 63")
            if not isinstance(key, str) or not _HEX_KEY.fullmatch(key):
                raise ValueError(f"password_keys: key {key_id} is not 64 lower-case hex digits")
        return cls(region, signing, {int(key_id): bytes.fromhex(key) for key_id, key in members})

    def to_json(self) -> str:
        """The JSON text for `from_json`. Secret: write it with mode 0600."""
        keys = {str(key_id): key.hex() for key_id, key in self.by_id.items()}
        value = {"region": self.region, "signing": self.signing, "password_keys": keys}
        return json.dumps(value)

    def password(self, ufrag: str | bytes) -> str | None:
        """The password of a ufrag; None if its region or its key is not among these.

        The ufrag's tag is not verified: only holders of the master key can issue its password.
        """
        claimed = claims(ufrag)
        if claimed is None or claimed.region != self.region:
            return None
        key = self.by_id.get(claimed.key_id)
        return None if key is None else password_for(ufrag, key)
