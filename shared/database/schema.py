"""Every table under one name: importing this module fills the metadata that migrations compare with."""

from shared.database import tables, tag_tables, vector_tables
from shared.database.base import metadata

__all__ = ["metadata", "tables", "tag_tables", "vector_tables"]
