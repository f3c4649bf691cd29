"""Engines that turn prompts (token ids) into outputs: one file an engine, one line here."""

ENGINES = {"transformers": "long1k.generation.hf:TransformersEngine"}
