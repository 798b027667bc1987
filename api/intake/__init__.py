"""From a request's body to jobs that may be inserted: parse, check everything at once, put pictures into storage."""
