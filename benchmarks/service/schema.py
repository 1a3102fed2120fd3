"""
Ask for all that the OpenAPI document promises, and what it forbids: no 500, no hang, no surprise.

    python -m benchmarks.service.schema --examples 200 --out benchmarks/results/service_schema.json

Exits as schemathesis does: with 1 where an answer is not as documented.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.results_file import save
from benchmarks.service.servers import ROOT, our_service

SUMMARY = re.compile(r"\d+ generated.*|Tested: .*|Seed: .*|^=+ .* in [\d.]+s =+$", re.MULTILINE)


def main() -> int:
    """Run schemathesis against a service of its own, write down how it went."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("--examples", type=int, default=200, help="of each operation (200)")
    options.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano.onnx")
    options.add_argument("--out", type=Path, help="JSON to write")
    chosen = options.parse_args()
    config = str(Path(__file__).with_name("schemathesis.toml"))
    with our_service(
        "--weights", str(chosen.weights), environment={"SEGMIF_SHARED_MEMORY": "1"}
    ) as service:
        command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", config]
        command += ["run", f"{service.url}/openapi.json", "--max-examples", str(chosen.examples)]
        with TemporaryDirectory() as scratch:  # it leaves notes where it runs
            done = subprocess.run(
                [*command, "--no-color"], cwd=scratch, capture_output=True, text=True
            )
        grown_mib = service.resident_mib()
    print(done.stdout)
    told = {
        "exit_code": done.returncode,
        "summary": SUMMARY.findall(done.stdout),
        "resident_mib": grown_mib,
    }
    save(told, chosen.out)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
