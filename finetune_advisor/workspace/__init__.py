"""A folder of cases: list, make, copy and remove them, put files in, send a case as a zip file and take one in."""

from finetune_advisor.workspace.archive import export_zip, import_zip
from finetune_advisor.workspace.home import Entry, cases, copy, create, find, open_sample, remove
from finetune_advisor.workspace.unzip import Limits
from finetune_advisor.workspace.uploads import add_file

__all__ = [
    "Entry",
    "Limits",
    "add_file",
    "cases",
    "copy",
    "create",
    "export_zip",
    "find",
    "import_zip",
    "open_sample",
    "remove",
]
