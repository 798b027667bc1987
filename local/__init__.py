"""The embedded stack: Postgres, Valkey, API, workers, sweeper and Flower on one machine, under one supervisor."""
