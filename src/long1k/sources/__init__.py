"""Where traces come from: one file a source, one line here.

A recipe may also name a source of its own as ``"module:Class"``.
"""

SOURCES = {
    "micro": "long1k.sources.micro:MicroSource",
    "files": "long1k.sources.files:FilesSource",
    "jsonl": "long1k.sources.files:FilesSource",
    "hub": "long1k.sources.files:FilesSource",
    "openthoughts": "long1k.sources.openthoughts:OpenThoughtsSource",
    "openr1": "long1k.sources.openr1:OpenR1Source",
    "s1k": "long1k.sources.s1k:S1kSource",
    "limo": "long1k.sources.limo:LimoSource",
    "distilled": "long1k.sources.distilled:DistilledSource",
}
