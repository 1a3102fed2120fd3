"""
Requests made from the OpenAPI document, valid and invalid: each answer must be as documented.

    python -m benchmarks.service.schema --examples 200 --out benchmarks/results/service_schema.json

Exits as schemathesis does: with 1 if an answer is not as documented.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.results_file import save
from benchmarks.service.servers import ROOT, our_service
from segmif.argument_types import IntegerRange

SUMMARY = re.compile(r"\d+ generated.*|Tested: .*|Seed: .*|^=+ .* in [\d.]+s =+$", re.MULTILINE)


def main() -> int:
    """Run schemathesis against a service and save its summary."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument(
        "--examples", type=IntegerRange(1), default=200, help="of each operation (200)"
    )
    options.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano.onnx")
    options.add_argument("--out", type=Path, help="JSON to write")
    chosen = options.parse_args()
    config = str(Path(__file__).with_name("schemathesis.toml"))
    with our_service(
        "--weights", str(chosen.weights), environment={"SEGMIF_SHARED_MEMORY": "1"}
    ) as service:
        command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", config]
        command += ["run", f"{service.url}/openapi.json", "--max-examples", str(chosen.examples)]
        with TemporaryDirectory() as scratch:  # it writes files into its folder
            done = subprocess.run(
                [*command, "--no-color"], cwd=scratch, capture_output=True, text=True
            )
        grown_mib = service.resident_mib()
    print(done.stdout)
    found = {
        "exit_code": done.returncode,
        "summary": SUMMARY.findall(done.stdout),
        "resident_mib": grown_mib,
    }
    save(found, chosen.out)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
