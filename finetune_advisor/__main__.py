"""`python -m finetune_advisor` is the command line."""

from finetune_advisor.cli import main

main()
