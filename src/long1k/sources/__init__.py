"""Where traces come from: one file a source, one line here.

A recipe may also name a source of its own as ``"module:Class"``.
"""

SOURCES = {
    "micro": "long1k.sources.micro:MicroSource",
    "jsonl": "long1k.sources.jsonl:JsonlSource",
}
