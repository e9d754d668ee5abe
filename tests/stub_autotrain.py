"""What AutoTrain does as far as it can be seen from outside, without its libraries: reads, talks, leaves files.

The environment says how it goes: STUB_ADAPTER is the adapter that it leaves, STUB_SAYS the file with what it says
before it fails, STUB_HANGS the file that it waits for.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import yaml

LOG = """INFO     | 2026-11-23 02:03:19 | autotrain.commands:launch_command:514 - ['accelerate', 'launch']
INFO     | 2026-11-23 02:03:30 | autotrain.trainers.clm.utils:configure_logging_steps:684 - Logging steps: 1
\rSaving the dataset (1/1 shards): 100%|#####| 24/24 [00:00<00:00, 14199.93 examples/s]
INFO     | 2026-11-23 02:03:33 | autotrain.trainers.common:on_train_begin:386 - Starting to train...
\r  0%|          | 0/2 [00:00<?, ?it/s]\r 50%|#####     | 1/2 [00:05<00:40,  5.84s/it]INFO     | 2026-11-23 02:03:39 | \
autotrain.trainers.common:on_log:367 - {'loss': 4.001, 'grad_norm': 1.08, 'learning_rate': 0.0002, 'epoch': 0.5}
\r100%|##########| 2/2 [00:10<00:00,  4.85s/it]INFO     | 2026-11-23 02:03:43 | autotrain.trainers.common:on_log:367 \
- {'loss': 3.6218, 'grad_norm': 1.01, 'learning_rate': 0.0, 'epoch': 1.0}
INFO     | 2026-11-23 02:04:04 | autotrain.trainers.common:on_log:367 - {'train_runtime': 31.2, 'train_loss': 3.68}
"""


def failed(error: str) -> str:
    """What AutoTrain says when its training fails."""
    where = "ERROR    | 2026-11-23 02:06:05 | autotrain.trainers.common:wrapper"
    first = "train has failed due to an exception: Traceback (most recent call last):"
    return f"{where}:215 - {first}\n{where}:216 - {error}"


def main() -> None:
    option, file = sys.argv[1:]
    assert option == "--config"
    config = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    project = Path(config["project_name"])
    project.mkdir()
    (project / "environment.json").write_text(json.dumps(dict(os.environ)), encoding="utf-8")
    assert Path(config["base_model"], "config.json").is_file()
    assert Path(config["data"]["path"], "train.jsonl").read_text(encoding="utf-8")
    print(LOG, flush=True)
    while "STUB_HANGS" in os.environ and not Path(os.environ["STUB_HANGS"]).exists():
        time.sleep(0.05)
    if "STUB_SAYS" in os.environ:
        print(Path(os.environ["STUB_SAYS"]).read_text(encoding="utf-8"), flush=True)
    else:
        shutil.copytree(os.environ["STUB_ADAPTER"], project, dirs_exist_ok=True)
    # Whatever happened, AutoTrain exits with 0.


if __name__ == "__main__":
    main()
