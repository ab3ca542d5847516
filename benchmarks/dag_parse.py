"""What parsing the DAG files costs: CPU-seconds, memory and modules, beside importing Airflow alone.

``python benchmarks/dag_parse.py [--json] [--times N]``

Each line is a fresh process, several times; the smallest figure counts, since everything else is the machine. The
provider's KubernetesPodOperator is measured for comparison: it is what a DAG would pay that inherits from it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

AIRFLOW = "import airflow.sdk"
CASES = {
    "import airflow.sdk": AIRFLOW,
    "... and the provider's KubernetesPodOperator": f"""
{AIRFLOW}
import airflow.providers.cncf.kubernetes.operators.pod
""",
    "... and airtune's DAG files": f"""
{AIRFLOW}
import runpy
for path in sorted(Path("dags").glob("*.py")):
    runpy.run_path(str(path))
""",
    "... and airtune's plugin": f"""
{AIRFLOW}
import airflow.plugins_manager
begin()
import runpy
runpy.run_path("plugins/airtune_plugin.py")
""",
}

PROGRAM = """
import resource, sys, time
from pathlib import Path
started = [0.0, 0]
def begin():
    started[:] = [time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
{code}
import json
print(json.dumps({{
    "cpu_s": time.process_time(),
    "own_cpu_s": time.process_time() - started[0],
    "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "own_memory_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started[1]) / 1024,
    "modules": len(sys.modules),
    "heavy": sorted(name for name in {heavy!r} if name in sys.modules),
}}))
"""

HEAVY = ("torch", "transformers", "pandas", "great_expectations", "boto3", "kubernetes")


def measure(code: str, home: str) -> dict[str, float]:
    """One fresh process."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AIRTUNE_"))},
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(PROJECT / "plugins"),
    }
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(code=code, heavy=HEAVY)],
        env=environment,
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--times", type=int, default=3, help="processes a line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airtune-benchmark-") as home:
        measure(AIRFLOW, home)  # Airflow writes its configuration file the first time
        found = {
            name: min((measure(code, home) for _ in range(options.times)), key=lambda each: each["cpu_s"])
            for name, code in CASES.items()
        }
    base = found["import airflow.sdk"]
    rows = [
        {
            "case": name,
            "cpu_s": round(each["cpu_s"], 3),
            "more_cpu_s": round(each["cpu_s"] - base["cpu_s"], 3),
            "more_memory_mb": round(each["memory_mb"] - base["memory_mb"], 1),
            "more_modules": each["modules"] - base["modules"],
            "heavy": each["heavy"],
        }
        for name, each in found.items()
    ]
    plugin = found["... and airtune's plugin"]
    own = {"cpu_s": round(plugin["own_cpu_s"], 3), "memory_mb": round(plugin["own_memory_mb"], 1)}
    if options.json:
        print(json.dumps({"cases": rows, "plugin": own}, indent=2))
        return
    print(f"{'':46} {'CPU-s':>7} {'more':>7} {'more MB':>8} {'modules':>8}")
    for row in rows:
        print(
            f"{row['case']:46} {row['cpu_s']:7.2f} {row['more_cpu_s']:7.2f} {row['more_memory_mb']:8.1f} "
            f"{row['more_modules']:8}"
        )
    print(f"the plugin alone, after airflow.plugins_manager: {own['cpu_s'] * 1000:.0f} ms, {own['memory_mb']} MB")


if __name__ == "__main__":
    main()
