"""`python -m graft` is `graft`."""

from graft.main import main

main()
