"""What models are asked: one file a benchmark, one line here.

A recipe may also name a benchmark of its own as ``"module:Class"``.
"""

BENCHMARKS = {
    "micro": "long1k.benchmarks.micro:MicroBenchmark",
    "jsonl": "long1k.benchmarks.jsonl:JsonlBenchmark",
    "math500": "long1k.benchmarks.math500:Math500Benchmark",
    "aime": "long1k.benchmarks.aime:AimeBenchmark",
    "aime24": "long1k.benchmarks.aime:Aime24Benchmark",
    "aime25": "long1k.benchmarks.aime:Aime25Benchmark",
    "gpqa": "long1k.benchmarks.gpqa:GpqaBenchmark",
    "amc": "long1k.benchmarks.amc:AmcBenchmark",
    "amc23": "long1k.benchmarks.amc:Amc23Benchmark",
    "olympiadbench": "long1k.benchmarks.olympiadbench:OlympiadBenchBenchmark",
    "minerva": "long1k.benchmarks.minerva:MinervaBenchmark",
    "gsm8k": "long1k.benchmarks.gsm8k:Gsm8kBenchmark",
    "multi": "long1k.benchmarks.multi:MultiBenchmark",
}
