"""`python -m monitor` is `wakeful`, and what the installed command calls."""


def main() -> None:
    """Open the door; Ctrl-C ends in silence while it still loads, as it does later."""
    try:
        from monitor.cli import main as command  # noqa: PLC0415 - a second in which people press Ctrl-C

        command()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
