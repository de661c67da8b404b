"""One token for everyone: fetched once per lifetime, shared by threads and processes, sealed wherever it rests."""

from prefect_atomic.tokens.cache import Lookup, TokenCache, shared_cache
from prefect_atomic.tokens.sealing import Seal, seal_for
from prefect_atomic.tokens.token import Token, served_until

__all__ = ["Lookup", "Seal", "Token", "TokenCache", "seal_for", "served_until", "shared_cache"]
