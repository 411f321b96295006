"""The commands of `firsthop`, one module per command or group. This file imports none of them."""

AT_ONCE = {
    "relay": "firsthop.commands.relay",
    "relay-worker": "firsthop.commands.relay_worker",
}
"""Commands that start without typer; their modules' `main` reads the options."""
