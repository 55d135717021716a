"""`python -m tfllm` is the command line."""

from tfllm.cli import main

main()
