"""One audit of a file, its findings counted by code; `audit` measures it. Run: python -m benchmarks.audit_once FILE."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from finetune_advisor.experiment import audit
from finetune_advisor.records import Finding


def counts(findings: Sequence[Finding]) -> Counter[str]:
    """How often each code was found, those that were summed up included."""
    found = Counter[str]()
    for finding in findings:
        more = re.match(r"There are ([\d,]+) more findings", finding.message)
        found[re.sub(r"_line_\d+$", "_line", finding.code)] += int(more[1].replace(",", "")) if more else 1
    return found


if __name__ == "__main__":
    audited = audit(Path(sys.argv[1]))
    print(json.dumps({"lines": audited.lines, **counts(audited.findings)}))
