"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

EXISTING = click.Path(exists=True, path_type=Path)

folder_argument = click.argument("folder", type=click.Path(path_type=Path), metavar="CASE")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
