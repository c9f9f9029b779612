"""`python -m imcap`."""

from imcap.cli import main

main()
