"""From a command's arguments to runs in the ledger."""
