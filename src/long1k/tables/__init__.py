"""Tables: a folder of Parquet parts, what was rejected, and a manifest written last.

    folder/
      part-00000.parquet ...   rows of one type
      rejected.parquet         rows that were not passed on, with reasons
      manifest.json            written last, by an atomic rename: no manifest, not complete

A part is written under a temporary name and renamed, so whatever has its final name is whole.
A stage that was stopped finds the parts it had finished, if its configuration and inputs are
still the same, and goes on from there.
"""

from long1k.tables.digests import content_digest, digest_json, file_digest
from long1k.tables.disk import make_folder, read_json, write_atomic, written_aside
from long1k.tables.folder import begin, finish, is_current, keep_finished
from long1k.tables.made_by import git_commit, versions
from long1k.tables.manifest import MANIFEST, PROGRESS, Manifest, changes, fingerprint, leaves, read_manifest
from long1k.tables.reading import iter_columns, iter_table, read_rejected, read_table
from long1k.tables.writer import PART_ROWS, TableWriter, write_parquet, write_part

__all__ = [
    "MANIFEST",
    "PART_ROWS",
    "PROGRESS",
    "Manifest",
    "TableWriter",
    "begin",
    "changes",
    "content_digest",
    "digest_json",
    "file_digest",
    "fingerprint",
    "finish",
    "git_commit",
    "is_current",
    "iter_columns",
    "iter_table",
    "keep_finished",
    "leaves",
    "make_folder",
    "read_json",
    "read_manifest",
    "read_rejected",
    "read_table",
    "versions",
    "write_atomic",
    "write_parquet",
    "write_part",
    "written_aside",
]
