"""`python -m monitor` is `wakeful`."""

from monitor.cli import main

main()
