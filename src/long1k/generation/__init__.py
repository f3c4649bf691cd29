"""Engines: what draws a model's outputs.  One file an engine, one line here; or ``"module:Class"`` in a recipe."""

ENGINES = {
    "transformers": "long1k.generation.hf:TransformersEngine",
    "vllm": "long1k.generation.vllm:VllmEngine",
    "openai": "long1k.generation.openai:ServerEngine",
}
