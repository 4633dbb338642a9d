"""What users touch: the `llava-jobs` command."""
