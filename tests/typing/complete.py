"""How much of the public library has a type: `python -m tests.typing.complete`.

basedpyright's own count, as it prints it for a package with `py.typed`: the share of
public symbols whose type is written down, or follows without a guess. Exit status: 0
if it is at least 98 %.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

WANTED = 0.98
COMMAND = [
    *("basedpyright", "--pythonpath", sys.executable, "--outputjson"),
    *("--ignoreexternal", "--verifytypes", "chainrule"),
]


def main() -> int:
    """Print the symbols without a type, and the share of those that have one."""
    run = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    report: dict[str, Any] = json.loads(run.stdout)["typeCompleteness"]
    for symbol in report["symbols"]:
        if symbol["isExported"] and not symbol["isTypeKnown"]:
            print(f"without a known type: {symbol['name']}")
    score: float = report["completenessScore"]
    counts = report["exportedSymbolCounts"]
    print(
        f"{score:.1%} of {sum(counts.values())} public symbols have a type; "
        f"{WANTED:.0%} are wanted."
    )
    return 0 if score >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
