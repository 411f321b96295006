"""The commands of `firsthop`, a module each. This file imports none of them."""

AT_ONCE = {
    "relay": "firsthop.commands.relay",
    "relay-worker": "firsthop.commands.relay_worker",
}
"""Commands that start without typer; their modules' `main` reads the options."""
