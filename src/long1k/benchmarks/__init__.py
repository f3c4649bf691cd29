"""What models are asked: one file a benchmark, one line here.

A recipe may also name a benchmark of its own as ``"module:Class"``.
"""

BENCHMARKS = {
    "micro": "long1k.benchmarks.micro:MicroBenchmark",
    "jsonl": "long1k.benchmarks.jsonl:JsonlBenchmark",
    "math500": "long1k.benchmarks.math500:Math500Benchmark",
    "aime": "long1k.benchmarks.aime:AimeBenchmark",
}
