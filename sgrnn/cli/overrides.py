"""What commands share that take recipe fields such as --policy.window=5 as options."""

TAKES_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For typer: unknown options are the recipe's, and are checked there."""
