"""`python -m llava_jobs` is the `llava-jobs` command."""

from llava_jobs.cli import main

main()
