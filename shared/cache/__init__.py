"""What was answered before, kept for a while in Redis. `docs/caching.md` says what is kept and when it goes.

Nothing here raises: whatever is wrong with the cache, its callers hear that it does not know.
"""
